"""Whether one quantity ranks runs as another does: Pearson and Spearman correlation with bootstrap intervals."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64

from vlm_data.errors import CallError

FEWEST_RUNS = 5
_KEPT = 0.5
"""Share of the resamples that must be defined for an interval."""


@dataclasses.dataclass(frozen=True)
class Correlation:
    """How two quantities go together over runs.

    Attributes:
        runs: how many.
        pearson: in [-1, 1]; None if it is undefined.
        spearman: Pearson correlation of the ranks; None likewise.
        pearson_interval, spearman_interval: 95 % from resampled runs; None if most resamples leave it undefined.
        undefined: why there is no number; empty if there is.
    """

    runs: int
    pearson: float | None = None
    spearman: float | None = None
    pearson_interval: tuple[float, float] | None = None
    spearman_interval: tuple[float, float] | None = None
    undefined: str = ""


def correlation(
    first: Float[np.ndarray, " runs"] | Float[np.ndarray, "k runs"],
    second: Float[np.ndarray, " runs"],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Correlation:
    """Return the correlation of two quantities over runs; that two things go together does not say why.

    Several quantities at once, the rows of `first`, are taken together as the mean of their z-scores,
    `mean_k (x_k - mean(x_k)) / std(x_k)`; how Oh et al. (2024) scaled theirs before averaging is not published. A
    bootstrap draws runs with replacement, both quantities of a run together, and scales anew in each resample.

    Args:
        first: of every run, or several quantities of every run.
        second: of every run.
        resamples: of the bootstrap.
        seed: of the generator that belongs to this call.

    Returns:
        Undefined, with the reason, for fewer than 5 runs, and where a quantity is the same in all runs or not finite.

    Raises:
        CallError: if the two do not have equally many runs, or `resamples` is less than 1.

    Example:
        >>> found = correlation(np.arange(6.0), np.arange(6.0) ** 3)
        >>> round(found.pearson, 2), found.spearman
        (0.91, 1.0)
        >>> correlation(np.arange(3.0), np.arange(3.0)).undefined
        '3 runs; expected at least 5'
    """
    rows, values = np.atleast_2d(np.asarray(first, dtype=np.float64)), np.asarray(second, dtype=np.float64)
    if rows.shape[1] != len(values) or resamples < 1:
        raise CallError(
            f"{rows.shape[1]} and {len(values)} values with {resamples} resamples have no correlation; expected both "
            "quantities of the same runs, and at least one resample."
        )
    count = len(values)
    if count < FEWEST_RUNS:
        return Correlation(count, undefined=f"{count} runs; expected at least {FEWEST_RUNS}")
    if not (np.isfinite(rows).all() and np.isfinite(values).all()):
        return Correlation(count, undefined="a quantity is infinite or undefined for a run")
    if any(np.ptp(row) == 0 for row in (*rows, values)):
        return Correlation(count, undefined="a quantity is the same for all runs")
    everything = np.arange(count)[None]
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    found = []
    for rank in (np.asarray, _ranks):
        value = float(_correlations(rows, values, everything, rank)[0])
        found.append((value, _interval(_correlations(rows, values, drawn, rank))))
    (pearson, around_pearson), (spearman, around_spearman) = found
    return Correlation(count, pearson, spearman, around_pearson, around_spearman)


def _correlations(
    rows: Float64[np.ndarray, "k runs"],
    values: Float64[np.ndarray, " runs"],
    index: np.ndarray,
    rank: Callable[[np.ndarray], np.ndarray],
) -> Float64[np.ndarray, " resamples"]:
    """Return the correlation in each resample; NaN where a quantity does not vary in it."""
    together = np.mean([_standardised(row[index]) for row in rows], axis=0)
    product = _standardised(rank(together)) * _standardised(rank(values[index]))
    return product.mean(axis=1).clip(-1, 1)


def _standardised(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=1, keepdims=True)
    deviation = np.where(np.ptp(values, axis=1) > 0, values.std(axis=1), np.nan)
    return centred / deviation[:, None]


def _ranks(values: np.ndarray) -> np.ndarray:
    # sums of z-scores of equal runs differ in their last digits, and shall be ties
    from scipy.stats import rankdata  # only here: listing the metrics must not cost what scipy does

    return rankdata(np.round(values, 12), axis=1, nan_policy="propagate")


def _interval(resampled: np.ndarray) -> tuple[float, float] | None:
    known = resampled[np.isfinite(resampled)]
    if len(known) < _KEPT * len(resampled):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
