"""Accuracy by class and attribute: the subgroups of group robustness, and the worst of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64

from vlm_data.dataset import UNLABELLED
from vlm_data.errors import CallError, VlmDataError
from vlm_eval.metrics.samples import check_samples


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """One cell: the samples of a class that share a value of an attribute.

    Attributes:
        label: index of the class.
        value: of the attribute.
        accuracy: share of right answers, a fraction.
        n: samples.
    """

    label: int
    value: str
    accuracy: float
    n: int


@dataclasses.dataclass(frozen=True, eq=False)
class Subgroups:
    """Right answers and samples by class and value of one attribute; samples without a label count nowhere.

    Attributes:
        values: of the attribute, one per column.
        right: (c, g) right answers.
        counts: (c, g) samples; 0 in an empty cell.
    """

    values: tuple[str, ...]
    right: Int64[np.ndarray, "c g"]
    counts: Int64[np.ndarray, "c g"]

    @cached_property
    def accuracy(self) -> Float64[np.ndarray, "c g"]:
        """Accuracy of every cell, NaN where it is empty."""
        return _shares(self.right, self.counts)

    @property
    def per_class(self) -> Float64[np.ndarray, " c"]:
        """Accuracy of every class, NaN for classes without a sample."""
        return _shares(self.right.sum(axis=1), self.counts.sum(axis=1))

    @property
    def overall(self) -> float | None:
        """Accuracy of all samples; None without one."""
        total = int(self.counts.sum())
        return int(self.right.sum()) / total if total else None

    @property
    def empty(self) -> int:
        """Cells without a sample, which can be no worst group."""
        return int((self.counts == 0).sum())

    @property
    def worst(self) -> Subgroup | None:
        """The cell with the lowest accuracy, empty ones left out; the first class, then the first value wins a tie."""
        if not self.counts.any():
            return None
        label, column = np.unravel_index(np.nanargmin(self.accuracy), self.accuracy.shape)
        score, n = float(self.accuracy[label, column]), int(self.counts[label, column])
        return Subgroup(int(label), self.values[column], score, n)

    @property
    def worst_class(self) -> float | None:
        """Accuracy of the class with the lowest one; None without a sample."""
        return float(np.nanmin(self.per_class)) if self.counts.any() else None


def subgroups(
    correct: Bool[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    values: Sequence[str],
    classes: int | None = None,
    columns: Sequence[str] | None = None,
) -> Subgroups:
    """Count samples and right answers by class and value of an attribute, as group DRO does (Sagawa et al. 2020).

    Args:
        correct: is the predicted class the label.
        labels: index of the true class; samples without one (-1) are left out.
        values: of the attribute, one per sample.
        classes: number of classes; None takes those up to the largest label.
        columns: values in the order of the columns; None takes those that occur, sorted.

    Raises:
        CallError: if the arguments do not fit together, or a label or a value is not among those expected.

    Example:
        >>> found = subgroups(np.array([True, False, True]), np.array([0, 0, 1]), ["with", "without", "with"])
        >>> found.accuracy
        array([[ 1.,  0.],
               [ 1., nan]])
        >>> found.worst, found.empty
        (Subgroup(label=0, value='without', accuracy=0.0, n=1), 1)
    """
    if not len(correct) == len(labels) == len(values):
        raise CallError(f"{len(correct)} answers, {len(labels)} labels and {len(values)} values; expected one of each.")
    known = labels != UNLABELLED
    found, cells = np.unique(np.asarray(values, dtype=object).astype(str), return_inverse=True)
    names = tuple(str(name) for name in (found if columns is None else columns))
    strange = sorted(set(map(str, found)) - set(names))
    if strange:
        raise CallError(f"samples have the value {', '.join(map(repr, strange))}; expected {', '.join(names)}.")
    height = int(labels.max(initial=-1)) + 1 if classes is None else classes
    if labels[known].min(initial=0) < 0 or labels.max(initial=-1) >= height:
        raise CallError(
            f"labels run from {labels.min()} to {labels.max()}; expected 0 to {height - 1}, or -1 for none."
        )
    column = np.array([names.index(str(name)) for name in found], dtype=np.int64)[cells]
    place = (labels * len(names) + column)[known]
    size = height * len(names)
    shape = height, len(names)
    counts = np.bincount(place, minlength=size).reshape(shape)
    right = np.bincount(place[correct[known]], minlength=size).reshape(shape)
    return Subgroups(names, right.astype(np.int64), counts.astype(np.int64))


def subgroups_by_attribute(
    correct: Bool[np.ndarray, " n"], labels: Int[np.ndarray, " n"], groups: Mapping[str, Sequence[str]]
) -> dict[str, Subgroups]:
    """Return the subgroups of every attribute of a data set."""
    return {attribute: subgroups(correct, labels, values) for attribute, values in groups.items()}


def worst_subgroup(found: Mapping[str, Subgroups]) -> tuple[str, Subgroup]:
    """Return the worst cell over all attributes, and its attribute; the first attribute wins a tie.

    Cells are those of class and ONE attribute: with several attributes, crossing them all would leave cells of one
    image, of which some is always wrong.

    Raises:
        VlmDataError: if there is no attribute or no sample with a label.
    """
    cells = [(attribute, cell) for attribute, one in found.items() if (cell := one.worst)]
    if not cells:
        raise VlmDataError(
            "there is no group: the data tell no attribute besides the class, or no sample has a label. Expected at "
            "least one of both for the accuracy of the worst group."
        )
    return min(cells, key=lambda pair: pair[1].accuracy)


def worst_group_accuracy(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], groups: Mapping[str, Sequence[str]]
) -> float:
    """Return the lowest accuracy of a class among the samples that share a value of an attribute; empty cells left out.

    The minimum over (class, value) cells of every attribute the data tell (Sagawa et al. 2020). It rests on the images
    of one cell, which may be few.

    Raises:
        VlmDataError: if there is no attribute.

    Example:
        >>> logits = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
        >>> worst_group_accuracy(logits, np.array([0, 1, 0]), {"feature": ["with", "with", "without"]})
        0.0
    """
    check_samples(logits, labels)
    return worst_subgroup(subgroups_by_attribute(logits.argmax(axis=1) == labels, labels, groups))[1].accuracy


def worst_group_scores(
    correct: Bool[np.ndarray, " n"], labels: Int[np.ndarray, " n"], groups: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Return what a row of scores tells about the worst group: its accuracy, its images, and the cells without any.

    Example:
        >>> groups = {"feature": ["with", "without", "with"]}
        >>> worst_group_scores(np.array([True, False, True]), np.array([0, 0, 1]), groups)
        {'worst_group_accuracy': 0.0, 'worst_group_size': 1.0, 'empty_groups': 1.0}
    """
    if not groups:
        return {}
    found = subgroups_by_attribute(correct, labels, groups)
    _, worst = worst_subgroup(found)
    return {
        "worst_group_accuracy": worst.accuracy,
        "worst_group_size": float(worst.n),
        "empty_groups": float(sum(one.empty for one in found.values())),
    }


def _shares(right: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(right, counts, out=np.full(counts.shape, np.nan), where=counts > 0)


SUMMARY = {
    "worst_group_accuracy": {
        "compute": worst_group_accuracy,
        "better": "higher",
        "range": (0.0, 1.0),
        "unit": "share of samples of one class and group",
    },
}
