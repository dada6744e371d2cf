"""How much the worst group of one model differs from that of another on the same images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from vlm_data.tables import Predictions
from vlm_eval.comparing.changes import Change, basic_change
from vlm_eval.metrics.subgroups import subgroups_by_attribute, worst_subgroup

_BLOCK = 2_000_000  # images drawn at a time, about 100 MB


def worst_group_change(
    first: Sequence[Predictions], second: Sequence[Predictions], *, resamples: int = 2000, level: float = 0.95
) -> Change | None:
    """Return how much the accuracy of the worst group differs between two models, or between two groups of seeds.

    Each model has its own worst group, in the data and in every resample. Resamples hold the same images for both
    sides, and with several seeds draw seeds, too. The lowest of several noisy accuracies comes out too low, and that of
    a resample more so; the interval is the basic bootstrap one, which takes that out. See
    `vlm_eval.metrics.subgroups` for what a group is.

    Args:
        first: tables of one data set, one per seed.
        second: the same of the other side, on the same images in the same order.
        resamples: of the bootstrap.
        level: probability the interval is made for, a fraction.

    Returns:
        None where the data tell no attribute, or no image has a label.

    Example:
        >>> def table(logits: list[list[float]]) -> Predictions:
        ...     ids, labels, groups = ("a", "b"), np.array([0, 0]), {"feature": ("with", "without")}
        ...     return Predictions(ids, labels, np.array(logits, dtype=np.float32), {}, groups)
        >>> found = worst_group_change([table([[1, 0], [0, 1]])], [table([[1, 0], [1, 0]])])
        >>> found.before, found.after
        (0.0, 1.0)
    """
    if any(not table.groups or not table.labelled.any() for table in (*first, *second)):
        return None
    starts, ends = (np.mean([_observed(table) for table in side]) for side in (first, second))
    before, after = (_over_seeds([_resampled(table, resamples) for table in side]) for side in (first, second))
    tail = (1 - level) / 2
    low, high = np.quantile(after - before, [tail, 1 - tail])
    return basic_change(float(starts), float(ends), float(low), float(high))


def _observed(table: Predictions) -> float:
    return worst_subgroup(subgroups_by_attribute(table.correct, table.labels, table.groups))[1].accuracy


def _resampled(table: Predictions, resamples: int) -> Float64[np.ndarray, " resamples"]:
    """Return the accuracy of the worst group of resampled images; equally many images draw the same ones."""
    rows = np.flatnonzero(table.labelled)
    outcomes = [_outcome_codes(table, attribute)[rows] for attribute in table.groups]
    generator = np.random.default_rng(0)
    block = max(1, _BLOCK // len(rows))
    found = []
    for start in range(0, resamples, block):
        drawn = generator.integers(0, len(rows), (min(block, resamples - start), len(rows)))
        found.append(np.min([_worst(codes, drawn) for codes in outcomes], axis=0))
    return np.concatenate(found)


def _outcome_codes(table: Predictions, attribute: str) -> np.ndarray:
    """Return twice the number of each image's cell, plus one where the answer is right; one attribute."""
    _, values = np.unique(np.asarray(table.groups[attribute], dtype=object).astype(str), return_inverse=True)
    cells = table.labels * (int(values.max()) + 1) + values
    _, dense = np.unique(cells, return_inverse=True)  # classes without an image would only widen the tables
    return 2 * dense + table.correct


def _worst(codes: np.ndarray, drawn: np.ndarray) -> Float64[np.ndarray, " rows"]:
    width = int(codes.max()) // 2 * 2 + 2
    flat = (codes[drawn] + width * np.arange(len(drawn))[:, None]).ravel()
    wrong, right = np.moveaxis(np.bincount(flat, minlength=len(drawn) * width).reshape(len(drawn), -1, 2), 2, 0)
    counts = wrong + right
    return np.divide(right, counts, out=np.ones(counts.shape), where=counts > 0).min(axis=1)  # 1: no worst group


def _over_seeds(runs: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean over runs, drawing runs as well as images, the same for both sides if they are as many."""
    resamples = len(runs[0])
    drawn = np.random.default_rng(len(runs)).integers(0, len(runs), (resamples, len(runs)))
    return np.stack(runs, axis=1)[np.arange(resamples)[:, None], drawn].mean(axis=1)
