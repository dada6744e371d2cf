"""What a table of rationales says: PT, IR, validity and accuracy with intervals, and what had to be left out."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Rationales
from vlm_data.tables.rationales import EMPTY, FLAT, NO_EVIDENCE
from vlm_eval.metrics.rationality import SHARES, RationaleCounts, Share, counts_per_class
from vlm_eval.rationality.resampling import interval, resampled_counts
from vlm_eval.rationality.samples import judged_samples, settings
from vlm_eval.run_files import column_key
from vlm_eval.score_table import Score


@dataclasses.dataclass(frozen=True)
class RationaleScores:
    """One model on one data set, or the mean over the severities of a corruption; fractions.

    Attributes:
        meta: what identifies model and data, of the first table.
        data: data set, or the corruption.
        severity: of one member of a corruption, None otherwise.
        n: labelled images.
        no_evidence: how many of them have no evidence; they are in none of the numbers below.
        empty: images whose evidence lies outside of what the model sees; counted as not valid.
        flat: images whose relevance map is undefined; counted as not valid.
        counts: 2 x 2 table of the images with evidence, summed over severities.
        shares: `pt`, `ir`, `validity`, `accuracy`; None where undefined. Intervals are Wilson's, those of a mean over
            severities from resampled images.
        means: of every measure over the images where it is defined; `area` is the share of the picture that the
            evidence takes, which is what mass would be for a map that says nothing.
    """

    meta: Mapping[str, str]
    data: str
    severity: int | None
    n: int
    no_evidence: int
    empty: int
    flat: int
    counts: RationaleCounts
    shares: Mapping[Share, Score | None]
    means: Mapping[str, float]

    @property
    def settings(self) -> dict[str, str]:
        """How relevance was computed and judged, see `vlm_eval.rationality.samples.settings`."""
        return settings(self.meta)


def score_rationales(table: Rationales, level: float = 0.95) -> RationaleScores:
    """Return the scores of one table.

    Args:
        table: of one model on one data set.
        level: probability the intervals are made for, a fraction.

    Raises:
        VlmDataError: if no labelled sample has evidence; the message names the data set.

    Example:
        >>> mass, rational = np.array([1, 0, 0.2]), np.array([True, False, False])
        >>> table = Rationales(("a", "b", "c"), np.array([0, 1, 1]), np.array([0, 0, 1]), {"mass": mass},
        ...                    ("ok", "empty-evidence", "ok"), rational, {"data": "digits"})
        >>> found = score_rationales(table)
        >>> found.shares["pt"].value, found.empty, round(found.means["mass"], 3)
        (0.5, 1, 0.4)
    """
    samples = judged_samples(table)
    if not samples.ids:
        raise VlmDataError(
            f"no labelled sample of {table.meta.get('data') or 'the table'} has evidence ({len(table)} samples), so "
            "nothing can be said about its answers' reasons. Expected masks or boxes for some images; "
            "`vlm data check` tells how many have them."
        )
    labelled = [word for word, yes in zip(table.status, table.labelled, strict=True) if yes]
    shares: dict[Share, Score | None] = {}
    for name in SHARES:
        share = samples.counts.shares[name]
        ends = share.interval(level)
        shares[name] = None if share.value is None or ends is None else Score(share.value, *ends)
    means = {name: values[np.isfinite(values)] for name, values in samples.measures.items()}
    return RationaleScores(
        meta=table.meta,
        data=table.meta.get("data", ""),
        severity=int(table.meta.get("severity") or 0) or None,
        n=len(labelled),
        no_evidence=labelled.count(NO_EVIDENCE),
        empty=labelled.count(EMPTY),
        flat=labelled.count(FLAT),
        counts=samples.counts,
        shares=shares,
        means={name: float(values.mean()) for name, values in means.items() if values.size},
    )


def mean_over_severities(
    tables: Sequence[Rationales], *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> RationaleScores:
    """Return the scores of a corruption: the mean of each over its severities, images and counts summed.

    A share that is undefined at one severity is undefined as a mean. Intervals come from a bootstrap in which every
    resample takes the same images at every severity.

    Args:
        tables: of one model on the severities of one corruption.
        level: probability the intervals are made for, a fraction.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        CallError: if the tables do not belong to one model, one corruption and different severities.
        VlmDataError: see `score_rationales`.
    """
    whose = {(column_key(one), one.meta.get("model"), one.meta.get("alpha"), one.meta.get("split")) for one in tables}
    severities = {one.meta.get("severity") for one in tables}
    if len(whose) != 1 or len(severities) < len(tables):
        raise CallError(
            f"{len(tables)} tables of rationales are to be averaged over severities, of "
            f"{'; '.join(sorted(', '.join(map(str, one)) for one in whose)) or 'nothing'}. "
            "Expected one model on each severity of one corruption, once."
        )
    parts = [score_rationales(table, level) for table in tables]
    drawn = resampled_counts([judged_samples(table) for table in tables], resamples=resamples, seed=seed)
    shares: dict[Share, Score | None] = {}
    for name in SHARES:
        value, resampled = drawn.mean(name)
        ends = interval(resampled, level)
        shares[name] = None if value is None else Score(value, *(ends or ()))
    measures = [name for name in parts[0].means if all(name in part.means for part in parts)]
    return RationaleScores(
        meta=parts[0].meta,
        data=column_key(tables[0]),
        severity=None,
        n=sum(part.n for part in parts),
        no_evidence=sum(part.no_evidence for part in parts),
        empty=sum(part.empty for part in parts),
        flat=sum(part.flat for part in parts),
        counts=sum((part.counts for part in parts), RationaleCounts(0, 0, 0, 0)),
        shares=shares,
        means={name: float(np.mean([part.means[name] for part in parts])) for name in measures},
    )


def score_all(tables: Iterable[Rationales], *, resamples: int = 1000) -> list[RationaleScores]:
    """Return the scores of every table, and after the last severity of each corruption those of the corruption.

    Args:
        tables: of any number of models; tables without labelled evidence are passed over.
        resamples: of the means over severities.

    Raises:
        CallError: if a severity of one model is there twice.
    """
    found: list[RationaleScores] = []
    members: dict[tuple[object, ...], list[Rationales]] = {}
    ends: dict[tuple[object, ...], int] = {}
    for table in tables:
        if not (table.known & table.labelled).any():
            continue
        scores = score_rationales(table)
        found.append(scores)
        if scores.severity is not None:
            key = (model_of(table.meta), column_key(table), table.meta.get("split"), *scores.settings.items())
            members.setdefault(key, []).append(table)
            ends[key] = len(found) - 1
    means = {ends[key]: mean_over_severities(parts, resamples=resamples) for key, parts in members.items()}
    return [one for place, own in enumerate(found) for one in ([own, means[place]] if place in means else [own])]


def model_of(meta: Mapping[str, str]) -> tuple[str, ...]:
    """Return what tells one model of a folder of tables from the others: name, alpha and weights."""
    return tuple(meta.get(key, "") for key in ("model", "alpha", "weights_hash"))


def scores_per_class(table: Rationales, class_names: Sequence[str] = ()) -> dict[str, RationaleCounts]:
    """Return the 2 x 2 table of the images of each class that occurs, by class name or else index.

    Args:
        table: of one model on one data set.
        class_names: of all classes; equal names are told apart by their index.

    Example:
        >>> table = Rationales(("a", "b"), np.array([0, 1]), np.array([0, 0]), {}, ("ok", "ok"), np.array([True, True]))
        >>> scores_per_class(table, ["cat", "dog"])["dog"]
        RationaleCounts(rr=0, rw=0, wr=1, ww=0)
    """
    samples = judged_samples(table)
    if class_names and samples.labels.max(initial=-1) >= len(class_names):
        raise CallError(
            f"the table has labels up to {samples.labels.max()}, but there are {len(class_names)} class names. "
            "Expected those of the model that made it."
        )
    names = list(class_names)
    return {
        (f"{names[label]} ({label})" if names.count(names[label]) > 1 else names[label]) if names else str(label): found
        for label, found in counts_per_class(samples.labels, samples.correct, samples.rational).items()
    }
