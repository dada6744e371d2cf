"""Proper scores of the whole predicted distribution: negative log-likelihood and Brier score."""

import numpy as np
from jaxtyping import Float, Float64, Int

from vlm_eval.metrics.samples import check_probabilities, check_samples, check_true_classes_possible


def softmax(logits: Float[np.ndarray, "n c"]) -> Float64[np.ndarray, "n c"]:
    """Return `exp(z_k) / sum_j exp(z_j)` per row, in float64 whatever the precision of the logits.

    Example:
        >>> softmax(np.array([[0.0, 0.0]], dtype=np.float16))
        array([[0.5, 0.5]])
    """
    weights = logits.astype(np.float64)
    weights -= weights.max(axis=1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def negative_log_likelihood(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """Return the mean negative log-probability of the true class, in nats.

    `(1/n) sum_i (log sum_k exp(z_ik) - z_iy)`, from logits and in float64: going through probabilities would give
    infinity as soon as logits differ by more than about 745.

    Returns:
        A number >= 0.

    Raises:
        VlmDataError: see `check_samples` and `check_true_classes_possible`.

    Example:
        >>> round(negative_log_likelihood(np.array([[0.0, 0.0]]), np.array([1])), 4)  # log 2
        0.6931
    """
    check_samples(logits, labels)
    check_true_classes_possible(logits, labels)
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    true = shifted[np.arange(len(labels)), labels]
    return float((np.log(np.exp(shifted, out=shifted).sum(axis=1)) - true).mean())


def brier_score(probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """Return the mean squared distance between the predicted distribution and the true class.

    `(1/n) sum_i sum_k (p_ik - [y_i = k])^2` (Brier 1950, all classes summed): 0 for certain and right, 2 for certain
    and wrong. With two classes it is twice the binary form `(p - y)^2`.

    Returns:
        A number in [0, 2].

    Raises:
        CallError, VlmDataError: see `check_probabilities`.

    Example:
        >>> brier_score(np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([0, 0]))
        1.25
    """
    check_probabilities(probabilities, labels)
    distance = probabilities.astype(np.float64)
    distance[np.arange(len(labels)), labels] -= 1
    return float(np.square(distance, out=distance).sum(axis=1).mean())


SUMMARY = {
    "nll": {"compute": negative_log_likelihood, "better": "lower", "range": (0.0, float("inf")), "unit": "nats"},
    "brier": {"compute": brier_score, "better": "lower", "range": (0.0, 2.0), "unit": "squared probability"},
}
