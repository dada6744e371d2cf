"""The estimator behind the published calibration numbers: ECE per batch, averaged over batches."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float32, Int

from vlm_data.errors import CallError, unknown_name
from vlm_eval.metrics.reliability import top_class


def _published_edges(bins: int) -> Float32[np.ndarray, " edges"]:
    # float32 linspace as torch computes it: from both ends, with the float32 width and one rounding per edge. For 15
    # bins this misses the nearest float32 of k/15 at six edges, which decides where a confidence of 0.2 counts.
    index = np.arange(bins + 1)
    width = float(np.float32(1) / np.float32(bins))
    return np.where(index < (bins + 1) // 2, index * width, 1 - (bins - index) * width).astype(np.float32)


def batch_averaged_ece(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
    batch_size: int = 512,
    *,
    bins: int = 10,
    norm: Literal["l1", "l2", "max"] = "l1",
) -> float:
    """Return the ECE that CaRot and FLYP report: computed per batch in table order, averaged with batch weights.

    `sum_t (n_t / n) ECE(batch t)`, the last batch short. Bins are `[e_b, e_b+1)` with float32 edges, and confidence 1.0
    has an extra bin of its own (torchmetrics). It is never below the ECE of the whole set, because over- and
    under-confidence of different batches cannot cancel; folders read in class order make it larger still. Use it to
    compare with published numbers, with the batch size and the order used there, and
    `vlm_eval.metrics.calibration.expected_calibration_error` for everything else.

    Args:
        probabilities: (n, c) rows that sum to 1, in the order of the data set; confidences are compared in float32.
        labels: (n,) index of the true class.
        batch_size: samples per batch, 1 or more; n or more gives the whole-set value.
        bins: number of bins of equal width below 1.0.
        norm: how the gaps of the bins of a batch are combined, see `expected_calibration_error`.

    Returns:
        A number in [0, 1].

    Raises:
        CallError: if `batch_size` or `bins` is less than 1, or the norm does not exist.
        VlmDataError: see `check_probabilities`.

    Example:
        >>> probabilities = np.array([[0.75, 0.25], [0.75, 0.25]])
        >>> labels = np.array([0, 1])
        >>> [batch_averaged_ece(probabilities, labels, batch_size) for batch_size in (2, 1)]
        [0.25, 0.5]
    """
    if batch_size < 1 or bins < 1:
        raise CallError(f"batch size {batch_size} and {bins} bins are not possible; expected 1 or more of each.")
    if norm not in get_args(Literal["l1", "l2", "max"]):
        raise unknown_name("norm", norm, ["l1", "l2", "max"])
    confidences, correct = top_class(probabilities, labels)
    confidences = np.minimum(confidences.astype(np.float32), np.float32(1))
    samples = len(confidences)
    index = np.searchsorted(_published_edges(bins), confidences, side="right") - 1
    batch = np.arange(samples) // batch_size
    batches = int(batch[-1]) + 1
    cell = batch * (bins + 1) + index
    count = np.bincount(cell, minlength=batches * (bins + 1)).reshape(batches, bins + 1)
    sums = np.bincount(cell, weights=correct - confidences.astype(np.float64), minlength=count.size)
    gap = np.abs(sums.reshape(count.shape)) / np.maximum(count, 1)
    sizes = count.sum(axis=1)
    if norm == "max":
        errors = gap.max(axis=1)
    elif norm == "l1":
        errors = (count * gap).sum(axis=1) / sizes
    else:
        errors = np.sqrt((count * gap**2).sum(axis=1) / sizes)
    return float((errors * sizes).sum() / samples)


SUMMARY = {
    "batch_averaged_ece": {
        "compute": batch_averaged_ece,
        "better": "lower",
        "range": (0.0, 1.0),
        "unit": "probability",
    },
}
