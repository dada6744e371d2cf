"""Intervals of gaps: what the difference of two accuracies may be."""

from statistics import NormalDist

import numpy as np
from jaxtyping import Float64

from vlm_explain.discovery.gaps import ClassGaps
from vlm_explain.discovery.incidence import shares


def gap_intervals(
    gaps: ClassGaps, level: float = 0.95
) -> tuple[Float64[np.ndarray, "C L"], Float64[np.ndarray, "C L"]]:
    """Return the ends of an interval for each weighted gap, of one class and cluster looked at alone.

    Newcombe's hybrid of two Wilson intervals (1998, method 10) for the raw gap, times its weight, which is taken as
    known: it depends on how many images there are, not on answers. It is not corrected for many gaps; the p-value is.

    Args:
        gaps: of all clusters.
        level: of confidence.

    Returns:
        Lower and upper ends in [-1, 1], NaN where the gap is undefined.

    Example:
        >>> counts = [np.array([[value]]) for value in (50, 50, 40, 20)]
        >>> low, high = gap_intervals(ClassGaps(*counts))
        >>> round(float(low[0, 0]), 3), round(float(high[0, 0]), 3)
        (0.21, 0.552)
    """
    low_with, high_with = _wilson(gaps.right_with, gaps.with_, level)
    low_without, high_without = _wilson(gaps.right_without, gaps.without, level)
    a, b = gaps.accuracy_with, gaps.accuracy_without
    low = gaps.raw - np.hypot(a - low_with, high_without - b)
    high = gaps.raw + np.hypot(high_with - a, b - low_without)
    return gaps.weights * low, gaps.weights * high


def _wilson(right: np.ndarray, n: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = shares(right, n)
    size = np.where(n > 0, n, 1)
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * np.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)
