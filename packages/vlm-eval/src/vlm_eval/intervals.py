"""How sure a score is: exact intervals for accuracy, bootstrap intervals for accuracy and ECE."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from vlm_data.errors import CallError, VlmDataError, unknown_name
from vlm_eval.metrics.proportions import check_level, check_trials
from vlm_eval.metrics.reliability import Closed, bin_indices

Method = Literal["percentile", "basic"]

# Sample indices drawn at a time: bounds the memory at about 100 MB and keeps the arrays in cache.
_BLOCK = 2_000_000


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact binomial interval for a rate of which `successes` of `n` trials were seen.

    `[BetaInv(a; k, n - k + 1), BetaInv(1 - a; k + 1, n - k)]` with `a = (1 - level) / 2` and k successes; 0 and 1 at
    the ends (Clopper and Pearson 1934). It covers the true rate with at least probability `level`, whatever the rate.

    Args:
        successes: 0 to n.
        n: number of independent trials, 1 or more.
        level: fraction between 0 and 1.

    Returns:
        Lower and upper end, fractions.

    Raises:
        CallError: if there is no trial, or the number of successes or the level is not possible.

    Example:
        >>> low, high = clopper_pearson(9, 10)
        >>> round(low, 3), round(high, 3)
        (0.555, 0.997)
    """
    check_trials(successes, n, level)
    from scipy.special import betaincinv  # here, because importing it takes longer than scoring most data sets

    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


@dataclasses.dataclass(frozen=True, eq=False)
class Outcomes:
    """What accuracy and ECE need to know of one model on one data set.

    Attributes:
        ids: sample ids; members of a corruption share those of the clean images.
        confidences: largest probability of each sample.
        correct: was the predicted class the true one.
    """

    ids: tuple[str, ...]
    confidences: Float[np.ndarray, " n"]
    correct: Bool[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Bootstrap:
    """Scores of resampled data sets, resample by resample.

    Equal seeds and equally many images give the same resamples, so the difference of two models' arrays on the same
    images is the bootstrap of the paired difference.

    Attributes:
        accuracy, ece: (resamples,) score of each resample, mean over the data sets that were resampled jointly.
        observed: the same two scores of the data itself.
    """

    accuracy: Float64[np.ndarray, " resamples"]
    ece: Float64[np.ndarray, " resamples"]
    observed: dict[str, float]

    def interval(
        self, metric: Literal["accuracy", "ece"], level: float = 0.95, method: Method = "percentile"
    ) -> tuple[float, float]:
        """Return lower and upper end for one score.

        `percentile` takes the quantiles q of the resampled scores. Resampling adds noise to every bin, so the ECE of
        resamples lies above the observed one, which itself lies above the true one: for well calibrated models the
        percentile interval is too high and can exclude the observed value. `basic` mirrors it, `[2 s - q_high,
        2 s - q_low]` cut to [0, 1] with s the observed score, which takes the bias out.

        Raises:
            CallError: if the level or the method is not possible.

        Example:
            >>> sure = bootstrap(np.full(50, 0.75), np.arange(50) % 4 > 0)
            >>> low, high = sure.interval("accuracy")
            >>> 0.6 < low < 0.74 < high < 0.9
            True
        """
        check_level(level)
        if method not in get_args(Method):
            raise unknown_name("interval method", method, get_args(Method))
        tail = (1 - level) / 2
        low, high = (float(end) for end in np.quantile(getattr(self, metric), [tail, 1 - tail]))
        if method == "percentile":
            return low, high
        twice = 2 * self.observed[metric]
        return min(max(twice - high, 0.0), 1.0), min(max(twice - low, 0.0), 1.0)


def bootstrap(
    confidences: Float[np.ndarray, " n"],
    correct: Bool[np.ndarray, " n"],
    *,
    resamples: int = 1000,
    bins: int = 15,
    closed: Closed = "right",
    seed: int = 0,
) -> Bootstrap:
    """Return accuracy and ECE of data sets drawn from this one with replacement.

    Args:
        confidences: (n,) largest probability of each sample.
        correct: (n,) was the predicted class the true one.
        resamples: number of resampled data sets of n samples each.
        bins: bins of the ECE.
        closed: bin convention of the ECE, see `vlm_eval.metrics.reliability.bin_indices`.
        seed: seed of the generator that belongs to this call.

    Raises:
        CallError: if `resamples` is less than 1 or the bins are not possible.
        VlmDataError: if there is no sample.

    Example:
        >>> bootstrap(np.array([0.75, 0.75]), np.array([True, True])).interval("ece")
        (0.25, 0.25)
    """
    ids = tuple(str(row) for row in range(len(confidences)))
    member = Outcomes(ids, confidences, correct)
    return joint_bootstrap([member], resamples=resamples, bins=bins, closed=closed, seed=seed)


def joint_bootstrap(
    members: Sequence[Outcomes],
    *,
    resamples: int = 1000,
    bins: int = 15,
    closed: Closed = "right",
    seed: int = 0,
) -> Bootstrap:
    """Return the mean accuracy and mean ECE of several data sets whose images are resampled together.

    For a corruption: all severities show the same images, so their errors go together, and resampling each severity on
    its own would make the interval of the mean too short. Every resample draws image ids once and takes these images
    at every severity. An image that a severity lacks counts at the others only; resamples that leave a severity without
    any image are dropped.

    Args:
        members: one entry per severity.
        resamples: number of resamples, see `bootstrap`.
        bins: bins of the ECE.
        closed: bin convention of the ECE.
        seed: seed of the generator that belongs to this call.

    Raises:
        CallError: if `resamples` is less than 1 or the bins are not possible.
        VlmDataError: if there is no member, a member has no sample, or nothing is left of the resamples.

    Example:
        >>> mild = Outcomes(("a", "b"), np.array([0.75, 0.75]), np.array([True, True]))
        >>> strong = Outcomes(("b", "a"), np.array([0.75, 0.75]), np.array([False, False]))
        >>> joint_bootstrap([mild, strong]).interval("accuracy")
        (0.5, 0.5)
    """
    if resamples < 1:
        raise CallError(f"the number of bootstrap resamples is {resamples}; expected 1 or more (1000 is usual).")
    if not members or not all(len(member.ids) for member in members):
        raise VlmDataError("there is no labelled sample to resample; expected at least one in every data set.")
    columns = {name: column for column, name in enumerate(dict.fromkeys(i for member in members for i in member.ids))}
    laid_out = [_lay_out(member, columns, bins, closed) for member in members]
    images = len(columns)
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // images)
    drawn = []
    for first in range(0, resamples, step):
        rows = min(step, resamples - first)
        index = rng.integers(0, images, size=(rows, images), dtype=np.int32)
        drawn.append(np.mean([member.scores(index) for member in laid_out], axis=0))
    scores = np.concatenate(drawn, axis=1)
    scores = scores[:, np.isfinite(scores).all(axis=0)]
    if not scores.size:
        raise VlmDataError(
            "no bootstrap resample holds an image of every severity; expected data sets that share images."
        )
    everything = np.arange(images, dtype=np.int32)[None]
    accuracy, ece = np.mean([member.scores(everything)[:, 0] for member in laid_out], axis=0)
    return Bootstrap(scores[0], scores[1], {"accuracy": float(accuracy), "ece": float(ece)})


@dataclasses.dataclass(frozen=True, eq=False)
class _Layout:
    """One data set with a column for every image of all data sets; an image it lacks adds 0 to every sum."""

    bins: int
    bin_of: Int64[np.ndarray, " images"]
    gap: Float64[np.ndarray, " images"]
    correct: Float64[np.ndarray, " images"]
    present: Bool[np.ndarray, " images"]

    def scores(self, index: np.ndarray) -> Float64[np.ndarray, "two rows"]:
        """Accuracy and ECE of each row of drawn columns; NaN for a row without any image of this data set."""
        rows = len(index)
        cell = (self.bin_of[index] + self.bins * np.arange(rows)[:, None]).ravel()
        gaps = np.bincount(cell, weights=self.gap[index].ravel(), minlength=rows * self.bins)
        size = index.shape[1] if self.present.all() else self.present[index].sum(axis=1)
        totals = np.stack([self.correct[index].sum(axis=1), np.abs(gaps.reshape(rows, self.bins)).sum(axis=1)])
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that marks a row without images
            return totals / size


def _lay_out(member: Outcomes, columns: dict[str, int], bins: int, closed: Closed) -> _Layout:
    place = np.fromiter((columns[name] for name in member.ids), dtype=np.int64, count=len(member.ids))
    bin_of = np.zeros(len(columns), dtype=np.int64)
    gap, correct = np.zeros(len(columns)), np.zeros(len(columns))
    present = np.zeros(len(columns), dtype=bool)
    bin_of[place] = bin_indices(member.confidences, bins, closed)
    gap[place] = member.correct - member.confidences.astype(np.float64)
    correct[place] = member.correct
    present[place] = True
    return _Layout(bins, bin_of, gap, correct, present)
