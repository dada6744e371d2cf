"""How a run's models answer differently: zero-shot against fine-tuned, and whom the interpolated model follows."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

import numpy as np

from vlm_data.errors import CallError
from vlm_data.tables import Predictions
from vlm_eval.metrics.diversity import kappa_complement, mean_divergence, override_rates, prediction_diversity
from vlm_eval.run_files import column_key


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """Zero-shot, fine-tuned and interpolated model on the same images; fractions unless said otherwise.

    Attributes:
        data: data set; a corruption is the mean over its severities.
        group: `natural`, `corruption`, or empty for ID data.
        diversity: share of images where exactly one of zero-shot and fine-tuned is right.
        kappa_complement: their disagreement over that of independent answers; None if both always give one class.
        divergence: mean KL(zero-shot || fine-tuned), nats; None where it is infinite.
        follows_zero_shot, follows_fine_tuned: where the two disagree, how often the interpolated model answers as
            either; None if they never disagree.
        corrected: share of all images that the fine-tuned model got wrong and the interpolated one gets right.
        broken: the reverse; `corrected - broken` is the change of accuracy.
    """

    data: str
    group: str
    diversity: float
    kappa_complement: float | None
    divergence: float | None
    follows_zero_shot: float | None
    follows_fine_tuned: float | None
    corrected: float
    broken: float


def disagreement(zero_shot: Predictions, fine_tuned: Predictions, interpolated: Predictions) -> Disagreement:
    """Compare the answers of three models on the labelled images of one data set.

    Raises:
        CallError: if the tables are of different images.

    Example:
        >>> def table(answers: list[int]) -> Predictions:
        ...     logits = 2 * np.eye(2, dtype=np.float32)[answers]
        ...     return Predictions(("a", "b"), np.array([0, 1]), logits, {"data": "toy"})
        >>> found = disagreement(table([0, 0]), table([1, 1]), table([0, 1]))
        >>> found.diversity, found.follows_zero_shot, found.corrected, found.broken
        (1.0, 0.5, 0.5, 0.0)
    """
    tables = (zero_shot, fine_tuned, interpolated)
    if any(one.ids != zero_shot.ids or not np.array_equal(one.labels, zero_shot.labels) for one in tables):
        raise CallError(
            f"the tables of {zero_shot.meta.get('data', '?')} hold different images; expected one data set for all "
            "models. Give the `vlm finetune` command again, which computes what does not fit."
        )
    labelled = zero_shot.labelled
    labels = zero_shot.labels[labelled]
    start, end, mixed = (one.logits[labelled] for one in tables)
    right, right_mixed = (one.argmax(axis=1) == labels for one in (end, mixed))
    first, second = override_rates(mixed, start, end)
    return Disagreement(
        zero_shot.meta.get("data", ""),
        zero_shot.meta.get("group", ""),
        prediction_diversity(start, end, labels),
        _finite(kappa_complement(start, end)),
        _finite(mean_divergence(start, end)),
        _finite(first),
        _finite(second),
        float((~right & right_mixed).mean()),
        float((right & ~right_mixed).mean()),
    )


def disagreements(
    zero_shot: Iterable[Predictions], fine_tuned: Iterable[Predictions], interpolated: Iterable[Predictions]
) -> list[Disagreement]:
    """Return how three models disagree on every labelled test set, ID data first, corruptions last.

    Args:
        zero_shot: tables of one model, one per data set.
        fine_tuned: those of another; data sets that not all have are passed over.
        interpolated: those of the third.

    Returns:
        Nothing if a model has no tables.
    """
    found: dict[str, list[Disagreement]] = {}
    for tables in _of_one_data_set(zero_shot, fine_tuned, interpolated):
        if tables[0].labelled.any():
            found.setdefault(column_key(tables[0]), []).append(disagreement(*tables))
    means = [dataclasses.replace(mean_disagreement(parts), data=data) for data, parts in found.items()]
    return sorted(means, key=lambda one: _GROUPS.index(one.group) if one.group in _GROUPS else 3)


def _of_one_data_set(*sides: Iterable[Predictions]) -> Iterator[tuple[Predictions, ...]]:
    """Bring tables of one data set together; what a side lacks is passed over, and few tables wait in memory."""
    waiting: dict[str, dict[int, Predictions]] = {}
    for row in zip_longest(*sides):
        for place, table in enumerate(row):
            if table is not None:
                parts = waiting.setdefault(table.meta.get("data", ""), {})
                parts[place] = table
                if len(parts) == len(sides):
                    del waiting[table.meta.get("data", "")]
                    yield tuple(parts[side] for side in range(len(sides)))


_GROUPS = ("", "natural", "corruption")
MEAN_LABELS = {"natural": "mean of natural shifts", "corruption": "mean of corruptions"}


def mean_disagreement(parts: Sequence[Disagreement]) -> Disagreement:
    """Return the mean of every measure over data sets or runs, of those where it is defined.

    Args:
        parts: one or more; the first gives data set and group.
    """
    means = {}
    for field in dataclasses.fields(Disagreement)[2:]:
        known = [value for part in parts if (value := getattr(part, field.name)) is not None]
        means[field.name] = math.fsum(known) / len(known) if known else None
    return dataclasses.replace(parts[0], **means)


def mean_over_runs(runs: Iterable[Sequence[Disagreement]]) -> list[Disagreement]:
    """Return the mean over runs for every data set that all of them have."""
    sides: list[Mapping[str, Disagreement]] = [{one.data: one for one in run} for run in runs]
    return [
        mean_disagreement([side[data] for side in sides])
        for data in (sides[0] if sides else ())
        if all(data in side for side in sides)
    ]


def with_means(found: Sequence[Disagreement]) -> list[Disagreement]:
    """Return measures on data sets followed by their means over natural shifts and over corruptions, of two or more."""
    means = []
    for group, label in MEAN_LABELS.items():
        members = [one for one in found if one.group == group]
        if len(members) > 1:
            means.append(dataclasses.replace(mean_disagreement(members), data=label))
    return [*found, *means]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
