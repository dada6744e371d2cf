"""Axes of accuracies on the logit scale, with ticks that read as per cent."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from vlm_eval.metrics.robustness import logit, sigmoid
from vlm_eval.plots.style import percent_axis

_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
_ENDS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)


def accuracy_ticks(low: float, high: float, room: float = 0.15) -> list[float]:
    """Return round accuracies between two others that stand apart on the logit scale, ascending.

    Multiples of the smallest round step whose neighbours do not touch; where the scale is stretched, towards 0 and 1,
    10, 5, 2, 1, 0.5 per cent and so on and their complements are added.

    Args:
        low: lower end of the axis, above 0.
        high: upper end, below 1.
        room: smallest distance between two ticks, as a part of the axis.

    Example:
        >>> accuracy_ticks(0.62, 0.78)
        [0.65, 0.7, 0.75]
        >>> accuracy_ticks(0.3, 0.995)
        [0.5, 0.75, 0.9, 0.98, 0.995]
    """
    least = room * _apart(high, low)
    chosen: list[float] = []
    for step in _STEPS:
        ticks = [round(step * k, 6) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
        ticks = [tick for tick in ticks if 0 < tick < 1]
        if len(ticks) < 2 or np.diff(logit(np.array(ticks))).min() >= least:
            chosen = ticks
            break
    for end in _ENDS:
        for tick in (end, round(1 - end, 6)):
            if low <= tick <= high and all(_apart(tick, other) >= least for other in chosen):
                chosen.append(tick)
    return sorted(chosen)


def _apart(one: float, other: float) -> float:
    return abs(float(logit(np.array(one)) - logit(np.array(other))))


def logit_limits(values: Sequence[float], margin: float = 0.07) -> tuple[float, float]:
    """Return the ends of an axis that holds accuracies strictly between 0 and 1, with a margin on the logit scale.

    Args:
        values: one or more.
        margin: as a part of the range; a single value gets half a logit on both sides.

    Example:
        >>> low, high = logit_limits([0.5])
        >>> round(low, 3), round(high, 3)
        (0.378, 0.622)
    """
    spread = logit(np.array(values))
    pad = max(margin * float(np.ptp(spread)), 0.1) if np.ptp(spread) > 0 else 0.5
    return float(sigmoid(spread.min() - pad)), float(sigmoid(spread.max() + pad))


def logit_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """Put one axis on the logit scale between two accuracies.

    Args:
        axes: whose axis; its data stay fractions.
        which: `x` or `y`.
        low: above 0.
        high: below 1.
    """
    if which == "x":
        axes.set_xscale("logit")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("logit")
        axes.set_ylim(low, high)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(accuracy_ticks(low, high, 0.16 if which == "x" else 0.11)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    percent_axis(axes, which)


def published_axis(
    low: float, high: float
) -> tuple[Float64[np.ndarray, "2"], Float64[np.ndarray, " ticks"], Int64[np.ndarray, " ticks"]]:
    """Return limits and ticks of the scatter plots of Wortsman et al. 2022, to compare a picture with theirs.

    Ticks are `round(low + 0.05 i, 2)` below `high`, placed by their logit and labelled in rounded per cent. Use
    `accuracy_ticks` for new figures: these are not round numbers, and above 1 there is no axis.

    Args:
        low: 0.95 times the smallest accuracy in that program.
        high: 1.05 times the largest.

    Returns:
        Logits of both ends, logits of the ticks, labels in per cent.

    Raises:
        CallError: if an end or a tick is not strictly between 0 and 1.

    Example:
        >>> published_axis(0.5, 0.64)[2].tolist()
        [50, 55, 60]
    """
    ticks = np.round(np.arange(low, high, 0.05), 2)
    return logit(np.array([low, high])), logit(ticks), np.round(100 * ticks).astype(np.int64)
