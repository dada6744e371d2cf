"""What a discovery says, read from the folder it was written to; no model, and none of the code that made it."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlm_data.errors import VlmDataError

SPURIOUS = "spurious"
"""The folder of a run that its discovery is written to."""
DISCOVERY, REGIONS, VALIDITY, SHEETS = "discovery.json", "regions.parquet", "validity.json", "sheets"
PREDICTIONS = "predictions.parquet"
"""The answers that a discovery was made of, in its folder."""


@dataclasses.dataclass(frozen=True)
class ClassGap:
    """Accuracy of one class with and without a cluster.

    Attributes:
        name: of the class.
        n_with, n_without: its images.
        accuracy_with, accuracy_without: fractions, None without an image.
        gap: weighted difference as it enters the gap score, None where undefined.
        low, high: interval, None where none was computed.
    """

    name: str
    n_with: int
    n_without: int
    accuracy_with: float | None
    accuracy_without: float | None
    gap: float | None
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class FoundCluster:
    """One cluster of regions.

    Attributes:
        id: of the cluster; ids may have holes.
        rank: 1 for the strongest finding, None where the cluster did not pass.
        size, images: regions in it, and images they lie in.
        gap_score: sum of absolute weighted gaps.
        influence: in [0, 1], None where it is not defined.
        p_value: of a permutation test, corrected for the number of clusters; None if it was not made.
        attribute: name of the class that loses accuracy when the feature is absent.
        direction: `helps` or `hurts` by name of the class.
        complement: id of the cluster whose absence this one is.
        ranked: rows of the table of regions, nearest to the medoid first.
        gaps: by class.
        is_absence: whether the feature is that this cluster is absent.
        same: ids of further clusters in the same images.
        failed: what a cluster that did not pass fell short of.
    """

    id: int
    rank: int | None
    size: int
    images: int
    gap_score: float
    influence: float | None
    p_value: float | None
    attribute: str | None
    direction: Mapping[str, str]
    complement: int | None
    ranked: tuple[int, ...]
    gaps: tuple[ClassGap, ...]
    is_absence: bool = False
    same: tuple[int, ...] = ()
    failed: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class DiscoveryFile:
    """A discovery as it lies on disk.

    Attributes:
        folder: it lies in.
        found: did any cluster pass.
        reason: why none did, in words; empty otherwise.
        notes: what a reader should know beside it.
        class_names: of the model.
        images, regions: how many were looked at.
        options: how it was made.
        clusters: ranked ones first, by rank.
    """

    folder: Path
    found: bool
    reason: str
    notes: tuple[str, ...]
    class_names: tuple[str, ...]
    images: int
    regions: int
    options: Mapping[str, Any]
    clusters: tuple[FoundCluster, ...]

    @property
    def ranked(self) -> tuple[FoundCluster, ...]:
        """Clusters that passed, strongest first."""
        return tuple(one for one in self.clusters if one.rank is not None)

    @property
    def top(self) -> FoundCluster | None:
        """The strongest finding, None where nothing was found."""
        return self.ranked[0] if self.found and self.ranked else None

    def sheet(self, cluster: FoundCluster) -> Path | None:
        """Return the contact sheet of a cluster, None if it was not drawn."""
        path = self.folder / SHEETS / f"cluster-{cluster.id}.png"
        return path if path.is_file() else None


def read_discovery(folder: str | os.PathLike[str]) -> DiscoveryFile | None:
    """Read the discovery in a folder; None if there is none.

    Raises:
        VlmDataError: if the file is damaged.
    """
    path = Path(folder) / DISCOVERY
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        clusters = sorted(map(_cluster, told["clusters"]), key=lambda one: (one.rank is None, one.rank or 0, one.id))
        return DiscoveryFile(
            folder=Path(folder),
            found=bool(told["found"]),
            reason=str(told.get("reason") or ""),
            notes=tuple(map(str, told.get("notes") or ())),
            class_names=tuple(told["class_names"]),
            images=int(told["images"]),
            regions=int(told["regions"]),
            options=dict(told.get("options") or {}),
            clusters=tuple(clusters),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise VlmDataError(
            f"cannot read {path}: {what}. Expected the file that `vlm spurious discover` writes; give that command "
            "again, or remove the file to go on without it."
        ) from error


def _cluster(told: Mapping[str, Any]) -> FoundCluster:
    return FoundCluster(
        id=int(told["id"]),
        rank=None if told["rank"] is None else int(told["rank"]),
        size=int(told["size"]),
        images=int(told["images"]),
        gap_score=float(told["gap_score"]),
        influence=_number(told, "influence"),
        p_value=_number(told, "p_value"),
        attribute=told.get("class"),
        direction=dict(told.get("direction") or {}),
        complement=None if told.get("complement") is None else int(told["complement"]),
        ranked=tuple(int(row) for row in told.get("ranked") or ()),
        gaps=tuple(_gap(one) for one in told["gaps"]),
        is_absence=bool(told.get("is_absence")),
        same=tuple(int(one) for one in told.get("same") or ()),
        failed=tuple(map(str, told.get("failed") or ())),
    )


def _gap(told: Mapping[str, Any]) -> ClassGap:
    numbers = [_number(told, key) for key in ("accuracy_with", "accuracy_without", "gap", "low", "high")]
    return ClassGap(str(told["class"]), int(told["n_with"]), int(told["n_without"]), *numbers)


def _number(told: Mapping[str, Any], key: str) -> float | None:
    value = told.get(key)
    return None if value is None else float(value)
