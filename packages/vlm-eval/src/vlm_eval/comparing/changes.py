"""How much one model differs from another on the same images, and whether that is more than chance."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from vlm_data.tables import Predictions
from vlm_eval.intervals import Bootstrap, Outcomes, joint_bootstrap
from vlm_eval.metrics.likelihood import softmax

Metric = Literal["accuracy", "ece"]
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class Change:
    """A difference between two models, mean over the data sets of a group; fractions.

    Attributes:
        before, after: the metric of the two models.
        low, high: interval of `after - before` from resamples that hold the same images for both models.
    """

    before: float
    after: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """`after - before`."""
        return self.after - self.before

    @property
    def direction(self) -> Literal["higher", "lower", "unclear"]:
        """Which way the metric went; `unclear` if the interval contains 0.

        Example:
            >>> Change(0.5, 0.625, 0.0625, 0.1875).direction, Change(0.5, 0.625, -0.125, 0.375).direction
            ('higher', 'unclear')
        """
        return "higher" if self.low > 0 else "lower" if self.high < 0 else "unclear"


@dataclasses.dataclass(frozen=True, eq=False)
class GroupBootstrap:
    """Resampled scores of one model, mean over the data sets of a group.

    Attributes:
        accuracy, ece: (resamples,).
        observed: the two scores of the data itself.
    """

    accuracy: Float64[np.ndarray, " resamples"]
    ece: Float64[np.ndarray, " resamples"]
    observed: Mapping[str, float]


def outcomes(predictions: Predictions) -> Outcomes:
    """Return what accuracy and ECE need of the labelled samples of a table.

    Example:
        >>> table = Predictions(("a", "b"), np.array([0, -1]), np.array([[2, 0], [1, 0]], dtype=np.float32))
        >>> outcomes(table).ids, outcomes(table).correct.tolist()
        (('a',), [True])
    """
    labelled = np.flatnonzero(predictions.labelled)
    logits = predictions.logits[labelled]
    confidences = softmax(logits).max(axis=1)
    ids = tuple(predictions.ids[row] for row in labelled)
    return Outcomes(ids, confidences, logits.argmax(axis=1) == predictions.labels[labelled])


def group_bootstrap(
    shifts: Iterable[Sequence[Outcomes]], *, resamples: int = 1000, seed: int = 0
) -> GroupBootstrap | None:
    """Resample every data set of a group; a corruption is the mean over its severities, with the same images in each.

    Args:
        shifts: one entry per data set of the group: its severities, or the one table of a natural shift.
        resamples: number of resampled data sets.
        seed: equal seeds draw the same images for every model, which is what makes differences paired.

    Returns:
        None for an empty group.

    Raises:
        CallError, VlmDataError: see `vlm_eval.intervals.joint_bootstrap`.
    """
    found: list[Bootstrap] = [joint_bootstrap(list(members), resamples=resamples, seed=seed) for members in shifts]
    return mean_bootstrap(found) if found else None


def mean_bootstrap(found: Sequence[Bootstrap | GroupBootstrap]) -> GroupBootstrap:
    """Return the mean over data sets, resample by resample; one or more, drawn with the same seed."""
    kept = min(len(one.accuracy) for one in found)
    return GroupBootstrap(
        np.mean([one.accuracy[:kept] for one in found], axis=0),
        np.mean([one.ece[:kept] for one in found], axis=0),
        {name: float(np.mean([one.observed[name] for one in found])) for name in ("accuracy", "ece")},
    )


def change(before: GroupBootstrap, after: GroupBootstrap, metric: Metric, level: float = 0.95) -> Change:
    """Return the paired difference of two models.

    The interval is the basic bootstrap one, `[2 d - q_high, 2 d - q_low]` with d the observed difference and q the
    quantiles of the resampled ones.

    Args:
        before: first model.
        after: second model, on the same data sets and resampled with the same seed.
        metric: `accuracy` or `ece`.
        level: probability the interval is made for, a fraction.

    Example:
        >>> right, wrong = np.array([True] * 4), np.array([False] * 4)
        >>> sure = Outcomes(("a", "b", "c", "d"), np.full(4, 0.75), right)
        >>> start = group_bootstrap([[dataclasses.replace(sure, correct=wrong)]])
        >>> change(start, group_bootstrap([[sure]]), "accuracy")
        Change(before=0.0, after=1.0, low=1.0, high=1.0)
    """
    resampled = getattr(after, metric) - getattr(before, metric)
    tail = (1 - level) / 2
    low, high = (float(end) for end in np.quantile(resampled, [tail, 1 - tail]))
    return basic_change(before.observed[metric], after.observed[metric], low, high)


def basic_change(before: float, after: float, low: float, high: float) -> Change:
    """Return a difference d with its basic bootstrap interval, `[2 d - high, 2 d - low]`.

    An end that misses 0 by no more than rounding is 0: `2 (0.625 - 0.775)` and `-0.3` are not the same number, and an
    interval that ends at 0 must not say that the metric went down.

    Args:
        before: the metric of the first model.
        after: that of the second, on the same images.
        low: lower quantile of the resampled differences.
        high: upper one.

    Example:
        >>> basic_change(0.775, 0.625, -0.3, 0.0)
        Change(before=0.775, after=0.625, low=-0.30000000000000004, high=0.0)
    """
    twice = 2 * (after - before)
    ends = (0.0 if abs(end) < _ROUNDING else end for end in (twice - high, twice - low))
    return Change(before, after, *ends)
