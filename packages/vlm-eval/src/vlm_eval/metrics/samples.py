"""The one check of what every metric is given: scores and labels of the same, labelled samples."""

import numpy as np
from jaxtyping import Float, Int

from vlm_data.errors import CallError, VlmDataError

# Probabilities summed in float16 miss 1 by up to about this much.
_SUM_TOLERANCE = 1e-2


def check_samples(scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> None:
    """Refuse arrays that no metric is defined for, so that a metric never returns NaN.

    Args:
        scores: logits or probabilities, one row per sample; minus infinity marks an impossible class.
        labels: index of the true class, 0 to c - 1.

    Raises:
        CallError: if the shapes do not fit together.
        VlmDataError: if there is no sample, a score is NaN or plus infinity, a row holds nothing but minus infinity,
            or a label is no class index.

    Example:
        >>> check_samples(np.array([[2.0, 0.0]]), np.array([0]))
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise CallError(
            f"scores of shape {scores.shape} and labels of shape {labels.shape} do not fit together. "
            "Expected (samples, classes) and (samples,)."
        )
    samples, classes = scores.shape
    if samples == 0 or classes == 0:
        raise VlmDataError(
            f"there is nothing to score: {samples} samples, {classes} classes. "
            "Expected at least one of each; check the data set and the limit on samples."
        )
    top = scores.max(axis=1)
    if not np.isfinite(top).all():  # the maximum of a row is NaN if any entry is
        first = int(np.flatnonzero(~np.isfinite(top))[0])
        raise VlmDataError(
            f"the scores of {int((~np.isfinite(top)).sum())} of {samples} samples are not finite, first at row {first}."
            " Expected finite scores; the model diverged or its precision is too low (try --precision fp32)."
        )
    strange = np.flatnonzero((labels < 0) | (labels >= classes))
    if strange.size:
        raise VlmDataError(
            f"{strange.size} of {samples} labels are no class index, first {int(labels[strange[0]])} at row "
            f"{int(strange[0])}. Expected 0 to {classes - 1}; leave samples with unknown label (-1) out first."
        )


def check_true_classes_possible(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> None:
    """Refuse samples whose true class has the logit minus infinity: their negative log-likelihood is infinite.

    Raises:
        VlmDataError: if there is such a sample; the message names the first one.

    Example:
        >>> check_true_classes_possible(np.array([[2.0, -np.inf]]), np.array([0]))
    """
    impossible = np.flatnonzero(np.isneginf(logits[np.arange(len(labels)), labels]))
    if impossible.size:
        row = int(impossible[0])
        raise VlmDataError(
            f"the negative log-likelihood is infinite: the true class {int(labels[row])} of row {row} has logit -inf. "
            "Expected a finite logit for every true class; check which classes were masked."
        )


def check_probabilities(probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> None:
    """Do `check_samples`, and refuse rows that are no probability distribution.

    Raises:
        CallError: if an entry is outside [0, 1] or a row does not sum to 1 (both within 0.01, for float16 input);
            logits are never soft-maxed silently.
    """
    check_samples(probabilities, labels)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    lowest, highest = float(probabilities.min()), float(probabilities.max())
    if lowest < -_SUM_TOLERANCE or highest > 1 + _SUM_TOLERANCE or (abs(sums - 1) > _SUM_TOLERANCE).any():
        raise CallError(
            f"these are no probabilities: entries from {lowest:.4g} to {highest:.4g}, row sums from {sums.min():.4g} "
            f"to {sums.max():.4g}. Expected rows that sum to 1; turn logits into probabilities with "
            "vlm_eval.metrics.likelihood.softmax."
        )
