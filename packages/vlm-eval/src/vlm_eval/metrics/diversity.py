"""How differently two classifiers answer, and which of them a mixture of both follows."""

import numpy as np
from jaxtyping import Float, Int

from vlm_data.errors import CallError
from vlm_eval.metrics.likelihood import softmax


def _answers(*logits: Float[np.ndarray, "n c"]) -> list[np.ndarray]:
    shapes = {np.shape(one) for one in logits}
    if len(shapes) != 1 or np.ndim(logits[0]) != 2 or not len(logits[0]):
        raise CallError(
            f"logits of shapes {', '.join(str(np.shape(one)) for one in logits)} cannot be compared; expected one row "
            "per sample and one column per class, the same for all models. Evaluate them on the same data."
        )
    return [np.asarray(one).argmax(axis=1) for one in logits]


def prediction_diversity(
    a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]
) -> float:
    """Return the share of samples where exactly one of two models is right, in [0, 1].

    Example:
        >>> prediction_diversity(np.eye(2), np.eye(2)[::-1], np.array([0, 0]))
        1.0
    """
    right_a, right_b = (answer == labels for answer in _answers(a, b))
    return float((right_a != right_b).mean())


def kappa_complement(a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "n c"]) -> float:
    """Return `(1 - p_o) / (1 - p_e)`, one minus Cohen's kappa: disagreement over that of independent answers.

    p_o is the share of equal answers, p_e what independent models of the same class frequencies would share. 0 = the
    models always agree, 1 = they agree as often as by chance; NaN if both always give the same one class.

    Example:
        >>> kappa_complement(np.eye(2), np.eye(2))
        0.0
    """
    answers_a, answers_b = _answers(a, b)
    classes = np.shape(a)[1]
    shares = [np.bincount(answers, minlength=classes) / len(answers) for answers in (answers_a, answers_b)]
    chance = float(shares[0] @ shares[1])
    return float((answers_a != answers_b).mean() / (1 - chance)) if chance < 1 else float("nan")


def mean_divergence(a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "n c"]) -> float:
    """Return the mean over samples of `KL(softmax(a) || softmax(b))`, in nats; not symmetric.

    Example:
        >>> mean_divergence(np.eye(2), np.eye(2))
        0.0
    """
    _answers(a, b)
    p, q = softmax(a), softmax(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log(p) - np.log(q)), 0)
    return float(terms.sum(axis=1).mean())


def kernel_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n e"]) -> float:
    """Return one minus the linear CKA of two sets of features of the same samples, in [0, 1].

    `1 - ||B^T A||_F^2 / (||A^T A||_F ||B^T B||_F)` with centred columns (Kornblith et al. 2019, section 3).

    Raises:
        CallError: if the samples differ in number or a set of features is constant.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(20, 3))
        >>> round(kernel_distance(features, 2 * features), 12)
        0.0
    """
    if len(a) != len(b):
        raise CallError(f"features of {len(a)} and {len(b)} samples cannot be compared; expected the same samples.")
    a, b = (np.asarray(x, dtype=np.float64) - np.asarray(x, dtype=np.float64).mean(axis=0) for x in (a, b))
    norms = [float(np.linalg.norm(x.T @ x)) for x in (a, b)]
    if not all(norms):
        raise CallError("features that are the same for every sample have no kernel; expected ones that vary.")
    return float(1 - np.linalg.norm(b.T @ a) ** 2 / (norms[0] * norms[1]))


def override_rates(
    mixture: Float[np.ndarray, "n c"], a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "n c"]
) -> tuple[float, float]:
    """Return how often a mixture follows a, and how often b, among the samples where a and b disagree.

    The two need not sum to 1: a mixture may answer a third class. NaN if a and b never disagree.

    Example:
        >>> override_rates(np.eye(2), np.eye(2), np.eye(2)[::-1])
        (1.0, 0.0)
    """
    mixed, first, second = _answers(mixture, a, b)
    apart = first != second
    if not apart.any():
        return float("nan"), float("nan")
    return float((mixed == first)[apart].mean()), float((mixed == second)[apart].mean())


def mean_margin(logits: Float[np.ndarray, "n c"]) -> float:
    """Return the mean gap between the two largest logits of a sample.

    Example:
        >>> mean_margin(np.array([[3.0, 1.0, 0.0]]))
        2.0
    """
    if np.ndim(logits) != 2 or np.shape(logits)[1] < 2:
        raise CallError(f"logits of shape {np.shape(logits)} have no margin; expected at least two classes.")
    top = np.partition(np.asarray(logits, dtype=np.float64), -2, axis=1)[:, -2:]
    return float((top[:, 1] - top[:, 0]).mean())
