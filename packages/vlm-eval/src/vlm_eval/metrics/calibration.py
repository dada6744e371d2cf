"""Does confidence mean what it says: calibration errors, and everything else about calibration under one import.

Conventions of the whole package unless a function says otherwise: confidence is the largest probability, there are 15
bins of equal width, and bins are closed on the right, (lo, hi]. Programs differ in this (torchmetrics closes bins on
the left), and values that lie on edges then count elsewhere. `batch_averaged_ece` reproduces the published programs.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from vlm_data.errors import unknown_name
from vlm_eval.metrics.batch_averaged import batch_averaged_ece as batch_averaged_ece
from vlm_eval.metrics.likelihood import brier_score as brier_score
from vlm_eval.metrics.likelihood import negative_log_likelihood as negative_log_likelihood
from vlm_eval.metrics.likelihood import softmax as softmax
from vlm_eval.metrics.reliability import Closed as Closed
from vlm_eval.metrics.reliability import ReliabilityTable as ReliabilityTable
from vlm_eval.metrics.reliability import bin_edges, bin_indices, top_class
from vlm_eval.metrics.reliability import reliability_table as reliability_table
from vlm_eval.metrics.samples import check_probabilities
from vlm_eval.metrics.temperature import apply_temperature as apply_temperature
from vlm_eval.metrics.temperature import fit_temperature as fit_temperature

Norm = Literal["l1", "l2", "max"]

# Entries of the (samples, classes) matrix that are binned at a time: bounds the memory at about 100 MB.
_BLOCK = 4_000_000


def expected_calibration_error(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
    *,
    bins: int = 15,
    closed: Closed = "right",
    norm: Norm = "l1",
) -> float:
    """Return the distance between accuracy and confidence over bins of the largest probability.

    With `w_b` the share of samples in bin b, `acc_b` their accuracy and `conf_b` their mean confidence:
    l1 `sum_b w_b |acc_b - conf_b|` (ECE, Naeini et al. 2015, Guo et al. 2017, eq. 3), l2 `sqrt(sum_b w_b (acc_b -
    conf_b)^2)`, max `max_b |acc_b - conf_b|` (MCE). Empty bins count nothing. Computed over all samples at once;
    never over batches.

    Args:
        probabilities: (n, c) rows that sum to 1.
        labels: (n,) index of the true class.
        bins: number of bins of equal width.
        closed: edge that belongs to a bin, see `bin_indices`.
        norm: how the gaps of the bins are combined.

    Returns:
        A number in [0, 1]. It over-estimates the error of a well calibrated model, by about `sqrt(bins / n)` times a
        constant: compare models on equally many samples.

    Raises:
        CallError: if `bins`, `closed` or `norm` is not possible.
        VlmDataError: see `check_probabilities`.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6]])
        >>> round(expected_calibration_error(probabilities, np.array([0, 1, 0])), 3)  # gaps 0.1, 0.1 and 0.6
        0.267
    """
    if norm not in get_args(Norm):
        raise unknown_name("norm", norm, get_args(Norm))
    table = reliability_table(probabilities, labels, bins=bins, closed=closed)
    gap = np.abs(table.accuracy - table.confidence)
    if norm == "max":
        return float(gap.max())
    share = table.count / table.count.sum()
    return float((share * gap).sum()) if norm == "l1" else float(np.sqrt((share * gap**2).sum()))


def maximum_calibration_error(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
    *,
    bins: int = 15,
    closed: Closed = "right",
) -> float:
    """Return the largest gap between accuracy and confidence of any bin (MCE), `max_b |acc_b - conf_b|`.

    One sample in a bin of its own decides it; read it beside the reliability table. See `expected_calibration_error`.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6]])
        >>> round(maximum_calibration_error(probabilities, np.array([0, 1, 0])), 3)
        0.6
    """
    return expected_calibration_error(probabilities, labels, bins=bins, closed=closed, norm="max")


def adaptive_calibration_error(
    probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], *, bins: int = 15
) -> float:
    """Return the calibration error over bins of equally many samples instead of equal width (adaptive ECE).

    Samples are sorted by confidence (stable) and cut into `bins` consecutive groups whose sizes differ by at most one,
    the larger ones first; the result is `sum_g (n_g / n) |acc_g - conf_g|` (Nguyen and O'Connor 2015; Nixon et al.
    2019). With fewer samples than bins every sample is a group. Samples of equal confidence stay in table order, so
    only then can the order of the table matter.

    Returns:
        A number in [0, 1].

    Raises:
        CallError: if `bins` is less than 1.
        VlmDataError: see `check_probabilities`.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.3, 0.7]])
        >>> round(adaptive_calibration_error(probabilities, np.array([0, 1, 0, 1]), bins=2), 3)
        0.125
    """
    bin_edges(bins)  # refuses an impossible number of bins
    confidences, correct = top_class(probabilities, labels)
    order = np.argsort(confidences, kind="stable")
    gap = (correct - confidences.astype(np.float64))[order]
    size, larger = divmod(len(gap), bins)
    group = np.repeat(np.arange(bins), np.where(np.arange(bins) < larger, size + 1, size))
    return float(np.abs(np.bincount(group, weights=gap)).sum() / len(gap))


def classwise_calibration_error(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
    *,
    bins: int = 15,
    closed: Closed = "right",
) -> float:
    """Return the mean over classes of the ECE of that class's probability (class-wise ECE).

    `(1/c) sum_k sum_b (n_bk / n) |mean [y = k] - mean p_k|` over the samples whose `p_k` lies in bin b (Kull et al.
    2019). All classes count, also those without a sample. With many classes nearly all of it lies in the first bin,
    and the value shrinks like 1/c: compare it only between models on the same classes.

    Returns:
        A number in [0, 1].

    Raises:
        CallError, VlmDataError: see `expected_calibration_error`.

    Example:
        >>> round(classwise_calibration_error(np.array([[0.75, 0.25], [0.75, 0.25]]), np.array([0, 1])), 3)
        0.25
    """
    check_probabilities(probabilities, labels)
    samples, classes = probabilities.shape
    step = max(1, _BLOCK // samples)
    total = 0.0
    for first in range(0, classes, step):
        block = probabilities[:, first : first + step]
        width = block.shape[1]
        index = bin_indices(block, bins, closed) + bins * np.arange(width)
        gap = (labels[:, None] == np.arange(first, first + width)) - block.astype(np.float64)
        total += float(np.abs(np.bincount(index.ravel(), weights=gap.ravel())).sum())
    return total / (samples * classes)


SUMMARY = {
    "ece": {"compute": expected_calibration_error, "better": "lower", "range": (0.0, 1.0), "unit": "probability"},
    "mce": {"compute": maximum_calibration_error, "better": "lower", "range": (0.0, 1.0), "unit": "probability"},
    "adaptive_ece": {
        "compute": adaptive_calibration_error,
        "better": "lower",
        "range": (0.0, 1.0),
        "unit": "probability",
    },
    "classwise_ece": {
        "compute": classwise_calibration_error,
        "better": "lower",
        "range": (0.0, 1.0),
        "unit": "probability",
    },
}
