"""What a discovery found out: one entry per cluster, with its gaps class by class."""

import dataclasses
from collections.abc import Mapping
from typing import Any

HELPS, HURTS = "helps", "hurts"


@dataclasses.dataclass(frozen=True)
class Gap:
    """One class with and without one cluster.

    Attributes:
        class_name: of the class.
        n_with: images of the class with a region in the cluster.
        n_without: images without one.
        accuracy_with: accuracy of the former.
        accuracy_without: accuracy of the latter.
        gap: weighted gap, in [-1, 1]; None if one side is empty.
        low: lower end of its interval.
        high: upper end of its interval.
    """

    class_name: str
    n_with: int
    n_without: int
    accuracy_with: float | None
    accuracy_without: float | None
    gap: float | None
    low: float | None
    high: float | None

    @property
    def direction(self) -> str:
        """`helps` or `hurts` where the interval leaves out 0, else nothing."""
        if self.low is None or self.high is None:
            return ""
        return HELPS if self.low > 0 else HURTS if self.high < 0 else ""

    def document(self) -> dict[str, Any]:
        """Return plain values."""
        values = dataclasses.asdict(self)
        return {"class": values.pop("class_name"), **values}

    @classmethod
    def of_document(cls, values: Mapping[str, Any]) -> "Gap":
        """Return the gap that `document` told."""
        return cls(values["class"], **{name: values[name] for name in values if name != "class"})


@dataclasses.dataclass(frozen=True)
class Finding:
    """One cluster of regions.

    Attributes:
        cluster: its id.
        rank: 1 for the best of those that pass everything, None for those that do not.
        regions: how many it has.
        images: how many images these lie in.
        score: what the strategy ranks by.
        gap_score: sum over classes of absolute weighted gaps.
        influence: see `influences`; None where it is undefined.
        p_value: corrected for the number of clusters; None if it was not tested, as it follows the class, or divides
            no two classes.
        class_tie: Cramer's V of its images with the class, see `class_ties`.
        attribute: name of the class that the feature means: of those that lose when it is absent, the one that it draws
            most wrong answers to; None if none loses. The largest gap alone is at times that of a chance bystander.
        pull: how much more often wrong answers are the class it draws most to, or away from, see `pulls`.
        is_absence: whether the feature is that the cluster is absent.
        complement: id of the cluster whose absence it is, if one was found.
        same: ids of further clusters in the same images.
        failed: what it did not pass: `strategy`, `class-tie`, `minimum-gap`, `significance`.
        medoid: row of its medoid in the table of regions.
        ranked: rows of its regions by similarity to the medoid, best first; the first hundred.
        gaps: of all classes that it has images of.
    """

    cluster: int
    rank: int | None
    regions: int
    images: int
    score: float
    gap_score: float
    influence: float | None
    p_value: float | None
    class_tie: float
    attribute: str | None
    pull: float
    is_absence: bool
    complement: int | None
    same: tuple[int, ...]
    failed: tuple[str, ...]
    medoid: int
    ranked: tuple[int, ...]
    gaps: tuple[Gap, ...]

    @property
    def direction(self) -> dict[str, str]:
        """For each class whose gap has an interval without 0: does the cluster help or hurt it."""
        return {gap.class_name: gap.direction for gap in self.gaps if gap.direction}

    def document(self) -> dict[str, Any]:
        """Return plain values, under the names of discovery.json."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed = {"same": list(self.same), "failed": list(self.failed), "ranked": list(self.ranked)}
        renamed = {"id": values.pop("cluster"), "size": values.pop("regions"), "class": values.pop("attribute")}
        gaps = [gap.document() for gap in self.gaps]
        return {**renamed, **values, **changed, "direction": self.direction, "gaps": gaps}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "Finding":
        """Return the cluster that `document` told."""
        values: dict[str, Any] = {name: document[name] for name in document if name != "direction"}
        values |= {"cluster": values.pop("id"), "regions": values.pop("size"), "attribute": values.pop("class")}
        values |= {name: tuple(values[name]) for name in ("same", "failed", "ranked")}
        values["gaps"] = tuple(Gap.of_document(gap) for gap in values["gaps"])
        return cls(**values)
