"""Temperature scaling: the one number that makes logits as well calibrated as a single number can."""

import math
from typing import cast

import numpy as np
from jaxtyping import Float, Float64, Int

from vlm_data.errors import CallError
from vlm_eval.metrics.samples import check_samples, check_true_classes_possible

BOUNDS = (1e-3, 1e3)

# Entries of the (samples, classes) matrix that are exponentiated at a time: bounds the memory at about 100 MB.
_BLOCK = 4_000_000


def apply_temperature(logits: Float[np.ndarray, "n c"], temperature: float) -> Float64[np.ndarray, "n c"]:
    """Return `logits / temperature` in float64: above 1 softens, below 1 sharpens, the order of classes stays.

    Published programs that take an inverse temperature t multiply instead: pass `1 / t`.

    Raises:
        CallError: if the temperature is not a positive finite number.

    Example:
        >>> apply_temperature(np.array([[2.0, 4.0]]), 2.0)
        array([[1., 2.]])
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise CallError(f"the temperature is {temperature}; expected a positive finite number.")
    return logits.astype(np.float64) / temperature


def fit_temperature(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], *, bounds: tuple[float, float] = BOUNDS
) -> float:
    """Return the temperature T that minimises the negative log-likelihood of `softmax(logits / T)` on these samples.

    Guo et al. 2017, section 4.2. The objective is convex in b = 1/T with slope `mean_i (E_p[z_i] - z_iy)`, p =
    softmax(b z_i), so its only root is bracketed from T = 1 outwards and found with Brent's method in log T. Fit on
    held-out in-distribution samples, then apply to test sets and shifts; fitting on a test set is an oracle.

    Args:
        logits: (n, c) scores before the softmax; minus infinity marks an impossible class.
        labels: (n,) index of the true class.
        bounds: smallest and largest temperature, both positive.

    Returns:
        T within `bounds`; 1.0 if all temperatures are equally good (constant logits). The result equals the lower
        bound when the likelihood grows without end as T falls (every sample is right), and the upper bound when the
        logits say less than nothing about these labels.

    Raises:
        CallError: if the bounds are no positive interval.
        VlmDataError: see `check_samples` and `check_true_classes_possible`.

    Example:
        >>> logits = np.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]])  # confidence 0.88, accuracy 0.75
        >>> round(fit_temperature(logits, np.array([0, 0, 0, 1])), 4)  # 2 / log 3
        1.8205
    """
    check_samples(logits, labels)
    check_true_classes_possible(logits, labels)
    low, high = (math.log(bound) if bound > 0 else math.nan for bound in bounds)
    if not -math.inf < low < high < math.inf:
        raise CallError(f"the bounds {bounds} are no interval of temperatures; expected 0 < smallest < largest.")

    def slope(log_temperature: float) -> float:
        return _slope(logits, labels, math.exp(-log_temperature))

    start = min(max(0.0, low), high)
    at_start = slope(start)
    if at_start == 0:
        return math.exp(start)
    # The slope in b falls as T rises. Positive: b is too large, so T has to rise. A slope of exactly 0 further on is an
    # underflow at the end where everything is certain, not a minimum: keep going.
    end, at_end, direction = start, at_start, 1 if at_start > 0 else -1
    while at_end * at_start >= 0:
        if end == (high if direction > 0 else low):
            return bounds[1] if direction > 0 else bounds[0]
        start, end = end, min(max(end + direction, low), high)
        at_end = slope(end)
    from scipy.optimize import brentq  # here, because it takes longer to import than all metrics together

    return math.exp(cast(float, brentq(slope, min(start, end), max(start, end), xtol=1e-12)))


def _slope(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], inverse: float) -> float:
    """Derivative of the mean negative log-likelihood by the inverse temperature."""
    rows = max(1, _BLOCK // logits.shape[1])
    total = 0.0
    for first in range(0, len(logits), rows):
        scores = logits[first : first + rows].astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        weights = np.exp(inverse * scores)
        scores[np.isneginf(scores)] = 0.0  # impossible classes have weight 0, but 0 * inf is NaN
        expected = np.einsum("nc,nc->n", weights, scores) / weights.sum(axis=1)
        total += float((expected - scores[np.arange(len(scores)), labels[first : first + rows]]).sum())
    return total / len(logits)
