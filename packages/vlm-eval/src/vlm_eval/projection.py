"""From a large list of classes to the classes of a test set: keeping some columns, or merging several into one."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from vlm_data.benchmark import ClassSources
from vlm_data.errors import CallError, unknown_name
from vlm_data.table_facts import class_facts
from vlm_data.tables import Predictions

Merge = Literal["max", "mean", "median", "sum"]
_EXCLUSION = 1e10


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


def merge_classes(
    logits: Float[np.ndarray, "n c"],
    sources: Sequence[Sequence[int]],
    how: Merge = "max",
    missing: float | None = None,
) -> Float[np.ndarray, "n k"]:
    """Return the score of each target class, made of those of its source columns.

    The maximum is what the published programs use (ObjectNet: 113 classes of 125 ImageNet ids; the video sets). The
    others are in float64; the median of an even number of sources is the mean of the two middle ones.

    Args:
        logits: (n, c) scores over the large class list.
        sources: for each of the k target classes the columns it is made of; a column may serve several targets.
        how: how the scores of the sources become one.
        missing: score of a target without source; None refuses such a target.

    Raises:
        CallError: if a target has no source, a source is no column, or there is no such way to merge.

    Example:
        >>> merge_classes(np.array([[0.0, 1.0, 2.0]]), [[1], [0, 2]])
        array([[1., 2.]])
        >>> merge_classes(np.array([[0.0, 1.0, 2.0]]), [[1], [0, 2]], how="sum")
        array([[1., 2.]])
    """
    if how not in get_args(Merge):
        raise unknown_name("way to merge classes", how, get_args(Merge))
    counts = np.array([len(columns) for columns in sources], dtype=np.int64)
    flat = np.array([column for columns in sources for column in columns], dtype=np.int64)
    _check_ids(flat, logits.shape[1])
    filled = np.flatnonzero(counts)
    if len(filled) < len(counts) and missing is None:
        raise CallError(
            f"{len(counts) - len(filled)} of {len(counts)} target classes have no source, first "
            f"{int(np.flatnonzero(counts == 0)[0])}. Expected a source for each, or the score such a class gets."
        )
    starts = (np.cumsum(counts) - counts)[filled]
    columns = logits[:, flat] if how == "max" else logits[:, flat].astype(np.float64)
    merged = np.full((len(logits), len(counts)), 0 if missing is None else missing, dtype=columns.dtype)
    if how == "max":
        merged[:, filled] = np.maximum.reduceat(columns, starts, axis=1)
    elif how == "median":
        for target, start in zip(filled, starts, strict=True):
            merged[:, target] = np.median(columns[:, start : start + counts[target]], axis=1)
    else:
        merged[:, filled] = np.add.reduceat(columns, starts, axis=1) / (counts[filled] if how == "mean" else 1)
    return merged


def exclude_classes(logits: Float[np.ndarray, "n c"], class_ids: Sequence[int]) -> Float64[np.ndarray, "n c"]:
    """Return scores in which some classes can never be the largest: 1e10 is taken off theirs.

    The published programs do so to the class "none" of YouTube-BoundingBoxes, which no classifier is asked for.

    Example:
        >>> exclude_classes(np.array([[3.0, 1.0]]), [0]).argmax(axis=1)
        array([1])
    """
    _check_ids(np.asarray(class_ids, dtype=np.int64), logits.shape[1])
    excluded = logits.astype(np.float64)
    excluded[:, list(class_ids)] -= _EXCLUSION
    return excluded


def project(logits: Float[np.ndarray, "n c"], classes: ClassSources) -> Float[np.ndarray, "n k"]:
    """Return logits over the classes of a test set (see `vlm_data.benchmark.Shift`), as they are if it has none.

    Example:
        >>> project(np.array([[0.0, 1.0, 2.0]]), ()), project(np.array([[0.0, 1.0, 2.0]]), ((2,), (0, 1)))
        (array([[0., 1., 2.]]), array([[2., 1.]]))
    """
    return merge_classes(logits, classes) if classes else logits


def matched_reference(predictions: Predictions, classes: ClassSources) -> Predictions:
    """Return what a table of in-distribution data says about the images that show the classes of a shift.

    The published programs call it `ImageNetRValClasses` and the like: the accuracy to compare a shift of 200 classes
    with is that among the same 200 classes, not among all 1000. Images are chosen by class, never by position.

    Args:
        predictions: on data with the classes of the benchmark.
        classes: of the shift, see `vlm_data.benchmark.Shift`; a class that serves two of them counts for the first.

    Raises:
        CallError: if the classes do not belong to the table, or no image shows one of them.

    Example:
        >>> table = Predictions(("a", "b"), np.array([2, 1]), np.array([[0, 3, 2], [0, 1, 2]], dtype=np.float32))
        >>> kept = matched_reference(table, ((0,), (2,)))
        >>> kept.ids, kept.labels.tolist(), kept.accuracy
        (('a',), [1], 1.0)
    """
    logits = project(predictions.logits, classes)
    targets = {source: target for target, sources in reversed(list(enumerate(classes))) for source in sources}
    rows = [row for row, label in enumerate(predictions.labels.tolist()) if label in targets]
    if not rows:
        raise CallError(f"none of {len(predictions)} images shows one of the {len(classes)} classes. Expected some.")
    return Predictions(
        tuple(predictions.ids[row] for row in rows),
        np.array([targets[label] for label in predictions.labels[rows].tolist()], dtype=np.int64),
        logits[rows],
        {**predictions.meta, **class_facts(classes)},
        {attribute: tuple(values[row] for row in rows) for attribute, values in predictions.groups.items()},
    )
