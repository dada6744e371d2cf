"""How often the model is right: top-k accuracy and recall per class."""

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from vlm_data.errors import CallError
from vlm_eval.metrics.samples import check_samples


def top_k_accuracy(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], k: int) -> float:
    """Return the share of samples whose true class is among the k classes with the largest scores.

    `(1/n) sum_i [rank_i < k]` with `rank_i = #{j: z_ij > z_iy} + #{j < y: z_ij = z_iy}`: among equal scores the lower
    class index comes first, so a constant model is right on class 0 only, as with argmax.

    Args:
        logits: (n, c) any scores that grow with the model's belief; probabilities give the same answer.
        labels: (n,) index of the true class.
        k: 1 to c.

    Returns:
        A fraction in [0, 1].

    Raises:
        CallError: if k is not between 1 and the number of classes.
        VlmDataError: see `check_samples`.

    Example:
        >>> logits = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
        >>> top_k_accuracy(logits, np.array([1, 1]), k=1), top_k_accuracy(logits, np.array([1, 1]), k=2)
        (0.0, 1.0)
    """
    check_samples(logits, labels)
    samples, classes = logits.shape
    if not 1 <= k <= classes:
        raise CallError(f"k is {k}, but there are {classes} classes. Expected 1 to {classes}.")
    true = logits[np.arange(samples), labels][:, None]
    before = np.arange(classes) < labels[:, None]
    rank = ((logits > true) | ((logits == true) & before)).sum(axis=1)
    return float((rank < k).mean())


def accuracy(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """Return the share of samples whose largest score is that of the true class; the lowest index wins a tie.

    Returns:
        A fraction in [0, 1].

    Raises:
        VlmDataError: see `check_samples`.

    Example:
        >>> accuracy(np.array([[3.0, 2.0], [3.0, 2.0]]), np.array([0, 1]))
        0.5
    """
    check_samples(logits, labels)
    return float((logits.argmax(axis=1) == labels).mean())


def class_recalls(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " present"], Float64[np.ndarray, " present"]]:
    """Return the classes that occur among the labels, ascending, and the accuracy on the samples of each.

    Classes without a sample have no recall and are left out instead of counting as 0 or NaN.

    Raises:
        VlmDataError: see `check_samples`.

    Example:
        >>> classes, recalls = class_recalls(np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]]), np.array([0, 2, 2]))
        >>> classes.tolist(), recalls.tolist()
        ([0, 2], [1.0, 0.5])
    """
    check_samples(logits, labels)
    correct = logits.argmax(axis=1) == labels
    counts = np.bincount(labels, minlength=logits.shape[1])
    present = np.flatnonzero(counts)
    return present, np.bincount(labels, weights=correct, minlength=logits.shape[1])[present] / counts[present]


def mean_per_class_recall(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """Return the mean of `class_recalls`: accuracy with every class that occurs weighing the same.

    Example:
        >>> mean_per_class_recall(np.array([[1.0, 0.0]] * 3), np.array([0, 0, 1]))
        0.5
    """
    return float(class_recalls(logits, labels)[1].mean())


def worst_class(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> tuple[int, float]:
    """Return the class with the lowest recall among those that occur, and that recall; the lowest index wins a tie.

    Example:
        >>> worst_class(np.array([[1.0, 0.0]] * 3), np.array([0, 0, 1]))
        (1, 0.0)
    """
    classes, recalls = class_recalls(logits, labels)
    lowest = int(recalls.argmin())
    return int(classes[lowest]), float(recalls[lowest])


def worst_class_recall(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """Return the recall of `worst_class`.

    Example:
        >>> worst_class_recall(np.array([[1.0, 0.0]] * 3), np.array([0, 0, 1]))
        0.0
    """
    return worst_class(logits, labels)[1]


SUMMARY = {
    "accuracy": {"compute": accuracy, "better": "higher", "range": (0.0, 1.0), "unit": "share of samples"},
    "mean_per_class_recall": {
        "compute": mean_per_class_recall,
        "better": "higher",
        "range": (0.0, 1.0),
        "unit": "share of samples, mean over classes",
    },
    "worst_class_recall": {
        "compute": worst_class_recall,
        "better": "higher",
        "range": (0.0, 1.0),
        "unit": "share of samples of one class",
    },
}
