"""Precision and recall of classes in one number: F1."""

import numpy as np
from jaxtyping import Float, Int

from vlm_eval.metrics.samples import check_samples


def macro_f1(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """Return the mean F1 of the classes that occur among the labels (macro F1, as WILDS does for iWildCam).

    `F1_k = 2 tp_k / (2 tp_k + fp_k + fn_k)`. A class that is only predicted, never true, is not averaged over; it costs
    recall where it was predicted. The mean over all classes, which other programs print, would count it as 0.

    Returns:
        A fraction in [0, 1].

    Raises:
        VlmDataError: see `check_samples`.

    Example:
        >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 2.0, 1.0]])
        >>> round(macro_f1(logits, np.array([0, 0, 1])), 3)  # F1 2/3 and 1; class 2 has no image
        0.833
    """
    check_samples(logits, labels)
    classes = logits.shape[1]
    predicted = logits.argmax(axis=1)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    true, answered = np.bincount(labels, minlength=classes), np.bincount(predicted, minlength=classes)
    present = true > 0
    return float((2 * hits[present] / (true + answered)[present]).mean())


SUMMARY = {
    "macro_f1": {
        "compute": macro_f1,
        "better": "higher",
        "range": (0.0, 1.0),
        "unit": "F1, mean over classes with images",
    },
}
