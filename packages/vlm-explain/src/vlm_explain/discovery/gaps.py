"""How much more accurate a model is, class by class, on images with a region of a cluster than on those without."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vlm_explain.discovery.incidence import Incidence, shares


@dataclasses.dataclass(frozen=True, eq=False)
class ClassGaps:
    """Accuracy of each class with and without each cluster.

    A class without an image in the cluster is not looked at: its counts are 0 on both sides, its gaps NaN.

    Attributes:
        with_: (C, L) images of the class that have a region in the cluster.
        without: (C, L) those that have none.
        right_with: (C, L) of `with_`, those that are answered right.
        right_without: (C, L) of `without`, those that are answered right.
    """

    with_: Int64[np.ndarray, "C L"]
    without: Int64[np.ndarray, "C L"]
    right_with: Int64[np.ndarray, "C L"]
    right_without: Int64[np.ndarray, "C L"]

    @property
    def accuracy_with(self) -> Float64[np.ndarray, "C L"]:
        """Accuracy of the class on images in the cluster, NaN without one."""
        return shares(self.right_with, self.with_)

    @property
    def accuracy_without(self) -> Float64[np.ndarray, "C L"]:
        """Accuracy of the class on its other images, NaN without one."""
        return shares(self.right_without, self.without)

    @property
    def raw(self) -> Float64[np.ndarray, "C L"]:
        """Accuracy with minus accuracy without, in [-1, 1]; NaN where one of them is."""
        return self.accuracy_with - self.accuracy_without

    @property
    def weights(self) -> Float64[np.ndarray, "C L"]:
        """2 min(with, without) / (with + without): 1 where the class is split evenly, 0 where it is not split."""
        return 2 * shares(np.minimum(self.with_, self.without), self.with_ + self.without)

    @property
    def weighted(self) -> Float64[np.ndarray, "C L"]:
        """The gaps of RaVL: raw gap times weight, in [-1, 1]."""
        return self.weights * self.raw

    @property
    def both_signs(self) -> Bool[np.ndarray, " C"]:
        """Does the cluster raise the accuracy of one class and lower that of another."""
        raw = self.raw
        return np.any(raw > 0, axis=1) & np.any(raw < 0, axis=1)


def class_gaps(
    incidence: Incidence, labels: Int64[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], classes: int
) -> ClassGaps:
    """Count right and wrong images of each class with and without each cluster (RaVL, NeurIPS 2024, section 3).

    Args:
        incidence: which images have a region in which cluster.
        labels: true class of each image.
        correct: is it answered right.
        classes: L.

    Example:
        >>> found = Incidence.of(np.array([0, 2]), np.array([0, 0]), images=4, clusters=1)
        >>> gaps = class_gaps(found, np.array([0, 0, 1, 1]), np.array([True, False, False, True]), 2)
        >>> gaps.weighted.tolist()
        [[1.0, -1.0]]
    """
    totals = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[correct], minlength=classes)
    with_ = incidence.counts(labels, classes)
    right_with = incidence.counts(labels, classes, correct)
    seen = with_ > 0
    return ClassGaps(with_, (totals - with_) * seen, right_with, (right - right_with) * seen)


def gap_scores(gaps: Float64[np.ndarray, "C L"]) -> Float64[np.ndarray, " C"]:
    """Return the sum over classes of the absolute gaps, 0 where no gap is defined.

    A sum: not comparable between data sets with different numbers of classes.

    Example:
        >>> gap_scores(np.array([[0.5, -0.25], [np.nan, np.nan]])).tolist()
        [0.75, 0.0]
    """
    return np.nansum(np.abs(gaps), axis=1)
