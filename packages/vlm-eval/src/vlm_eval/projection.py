"""From a large list of classes to the classes of a test set: keeping some columns, or merging columns by maximum."""

import numpy as np
from jaxtyping import Float, Int, Int64

from vlm_data.errors import CallError


def _check_ids(class_ids: Int[np.ndarray, " k"], classes: int) -> None:
    outside = class_ids[(class_ids < 0) | (class_ids >= classes)]
    if outside.size or not class_ids.size:
        raise CallError(
            f"the class list has {class_ids.size} ids, {outside.size} of them outside the {classes} columns of the "
            f"logits{f' (first {int(outside[0])})' if outside.size else ''}. "
            f"Expected 1 or more ids of 0 to {classes - 1}; check that the list belongs to this model's classes."
        )


def select_classes(logits: Float[np.ndarray, "n c"], class_ids: Int[np.ndarray, " k"]) -> Float[np.ndarray, "n k"]:
    """Return the columns of `class_ids`: the model then chooses among these classes only (ImageNet-A, ImageNet-R).

    Project logits, not probabilities, and do it before confidences are computed: the softmax has to run over the
    classes that are left.

    Args:
        logits: (n, c) scores over the large class list.
        class_ids: (k,) columns to keep, in the order of the small class list, without repetition.

    Raises:
        CallError: if an id is no column or occurs twice.

    Example:
        >>> select_classes(np.array([[0.0, 1.0, 2.0]]), np.array([0, 2]))
        array([[0., 2.]])
    """
    _check_ids(class_ids, logits.shape[1])
    if len(np.unique(class_ids)) != len(class_ids):
        raise CallError("the class list names a class twice; expected every id once.")
    return logits[:, class_ids]


def select_labels(labels: Int[np.ndarray, " n"], class_ids: Int[np.ndarray, " k"]) -> Int64[np.ndarray, " n"]:
    """Return labels of the large class list in the numbering of the small one, -1 where the class was not kept.

    Needed when images of the large data set are scored on the small class list; forgetting it gives a plausible but
    wrong calibration error.

    Example:
        >>> select_labels(np.array([7, 3, 5]), np.array([3, 7])).tolist()
        [1, 0, -1]
    """
    order = np.argsort(class_ids, kind="stable")
    place = np.minimum(np.searchsorted(class_ids, labels, sorter=order), len(class_ids) - 1)
    found = order[place]
    return np.where(class_ids[found] == labels, found, -1)


def merge_classes(logits: Float[np.ndarray, "n c"], groups: Int[np.ndarray, "g 2"]) -> Float[np.ndarray, "n k"]:
    """Return for each target class the maximum over its source columns (ObjectNet: 113 classes of 125 ImageNet ids).

    Args:
        logits: (n, c) scores over the large class list.
        groups: (g, 2) pairs (target class, source column); every target 0 to k - 1 needs at least one source, a source
            may serve several targets.

    Raises:
        CallError: if a target has no source or a source is no column.

    Example:
        >>> merge_classes(np.array([[0.0, 1.0, 2.0]]), np.array([[0, 1], [1, 0], [1, 2]]))
        array([[1., 2.]])
    """
    targets, sources = groups[np.argsort(groups[:, 0], kind="stable")].T
    _check_ids(sources, logits.shape[1])
    present, starts = np.unique(targets, return_index=True)
    if present[0] != 0 or present[-1] != len(present) - 1:
        lacking = sorted(set(range(int(present[-1]) + 1)) - set(present.tolist()))
        raise CallError(
            f"the groups name {len(present)} target classes from {int(present[0])} to {int(present[-1])}, without "
            f"source for {lacking[:5]}. Expected every target from 0 on to have a source class."
        )
    return np.maximum.reduceat(logits[:, sources], starts, axis=1)
