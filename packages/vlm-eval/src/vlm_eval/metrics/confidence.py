"""Confidence against being right: over-confidence, and what the squared error of confidence consists of."""

import numpy as np
from jaxtyping import Bool, Float, Float64

from vlm_data.errors import VlmDataError
from vlm_eval.metrics.reliability import bin_indices

BINS = 15


def overconfidence(confidences: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]) -> float:
    """Return mean confidence minus accuracy: the sign tells the direction that ECE does not.

    Args:
        confidences: (n,) largest probability of each sample.
        correct: (n,) was the predicted class the true one.

    Returns:
        A number in [-1, 1]; positive if the model believes too much in its answers.

    Raises:
        VlmDataError: if there is no sample, or the two differ in length.

    Example:
        >>> overconfidence(np.array([0.75, 0.75]), np.array([True, False]))
        0.25
    """
    _check(confidences, correct)
    return float(confidences.mean(dtype=np.float64) - correct.mean())


def brier_calibration(confidences: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]) -> float:
    """Return the part of the squared error of confidence that better confidences would take away.

    With p the confidence, y whether the answer is right and c the accuracy of the sample's bin: `mean (p - c)^2`. The
    squared error `mean (p - y)^2` is calibration + refinement + remainder (Murphy 1973; 15 bins of equal width).

    Returns:
        A number in [0, 1]; 0 if every confidence equals the accuracy of its bin.

    Raises:
        VlmDataError: see `overconfidence`.

    Example:
        >>> brier_calibration(np.array([0.75, 0.75]), np.array([True, False]))
        0.0625
    """
    accuracy = _bin_accuracy(confidences, correct)
    return float(np.square(confidences - accuracy).mean())


def brier_refinement(confidences: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]) -> float:
    """Return the part of the squared error of confidence that is left when confidence says what it can say.

    `E[c] - E[c^2]` with c the accuracy of the sample's bin, the variance of y within bins, see `brier_calibration`.

    Returns:
        A number in [0, 0.25]; 0 if within each bin all answers are right or all are wrong.

    Raises:
        VlmDataError: see `overconfidence`.

    Example:
        >>> brier_refinement(np.array([0.75, 0.75]), np.array([True, False]))
        0.25
    """
    accuracy = _bin_accuracy(confidences, correct)
    return float((accuracy * (1 - accuracy)).mean())


def brier_remainder(confidences: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]) -> float:
    """Return what calibration and refinement leave of the squared error of confidence, because bins have a width.

    `-2 mean (p - c)(y - c)`, minus twice the mean covariance of confidence and being right within bins; negative if
    confidence tells right from wrong within a bin, too.

    Returns:
        A number in [-0.5, 0.5].

    Raises:
        VlmDataError: see `overconfidence`.

    Example:
        >>> p, y = np.array([0.75, 0.78, 0.6]), np.array([False, True, True])
        >>> parts = brier_calibration(p, y) + brier_refinement(p, y) + brier_remainder(p, y)
        >>> bool(np.isclose(parts, np.square(p - y).mean()))
        True
    """
    accuracy = _bin_accuracy(confidences, correct)
    return float(-2 * ((confidences - accuracy) * (correct - accuracy)).mean())


def _check(confidences: np.ndarray, correct: np.ndarray) -> None:
    if confidences.shape != correct.shape or not len(correct):
        raise VlmDataError(
            f"{len(confidences)} confidences and {len(correct)} answers cannot be compared; expected one of each for "
            "every sample, and at least one sample."
        )


def _bin_accuracy(confidences: np.ndarray, correct: np.ndarray) -> Float64[np.ndarray, " n"]:
    """For each sample the share of right answers in its bin."""
    _check(confidences, correct)
    index = bin_indices(confidences, BINS)
    count = np.bincount(index, minlength=BINS)
    return (np.bincount(index, weights=correct, minlength=BINS) / np.maximum(count, 1))[index]


SUMMARY = {
    "overconfidence": {"compute": overconfidence, "better": "lower", "range": (-1.0, 1.0), "unit": "probability"},
    "brier_calibration": {
        "compute": brier_calibration,
        "better": "lower",
        "range": (0.0, 1.0),
        "unit": "squared probability",
    },
    "brier_refinement": {
        "compute": brier_refinement,
        "better": "lower",
        "range": (0.0, 0.25),
        "unit": "squared probability",
    },
    "brier_remainder": {
        "compute": brier_remainder,
        "better": "lower",
        "range": (-0.5, 0.5),
        "unit": "squared probability",
    },
}
