"""Confidence bins: which bin a confidence belongs to, and accuracy and confidence per bin."""

import dataclasses
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64

from vlm_data.errors import CallError, unknown_name
from vlm_eval.metrics.samples import check_probabilities

Closed = Literal["left", "right"]


def bin_edges(bins: int) -> Float64[np.ndarray, " edges"]:
    """Return the edges `k / bins` of equal-width bins of [0, 1], each correctly rounded.

    Raises:
        CallError: if `bins` is less than 1.

    Example:
        >>> bin_edges(4).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if bins < 1:
        raise CallError(f"the number of bins is {bins}; expected 1 or more (15 is usual).")
    # Not linspace: it multiplies by the rounded width and misses 3/10 by one unit in the last place.
    return np.arange(bins + 1) / bins


def bin_indices(values: Float[np.ndarray, "..."], bins: int = 15, closed: Closed = "right") -> Int64[np.ndarray, "..."]:
    """Return the bin of each value: `(k/bins, (k+1)/bins]` if closed on the right, `[k/bins, (k+1)/bins)` on the left.

    The outermost edges belong to the outermost bins under both conventions: 0 lies in the first bin, 1 in the last.
    Edges are rounded to the precision of the values, so float32(0.7) lies exactly on the edge 0.7 although as a real
    number it is slightly below. Pass float64 values for the exact comparison.

    Args:
        values: probabilities in [0, 1]; values outside by rounding go to the outermost bins.
        bins: number of bins of equal width, 1 or more.
        closed: the edge that belongs to a bin.

    Returns:
        Bin numbers 0 to bins - 1, same shape as `values`.

    Raises:
        CallError: if `bins` is less than 1 or `closed` is neither `left` nor `right`.

    Example:
        >>> values = np.array([0.0, 0.5, 0.6, 1.0])
        >>> bin_indices(values, bins=2).tolist(), bin_indices(values, bins=2, closed="left").tolist()
        ([0, 0, 1, 1], [0, 1, 1, 1])
    """
    if closed not in get_args(Closed):
        raise unknown_name("bin convention", closed, get_args(Closed))
    edges = bin_edges(bins).astype(values.dtype)
    # Only inner edges: that is what gives the outermost bins both of their edges.
    return np.searchsorted(edges[1:-1], values, side="left" if closed == "right" else "right")


def top_class(
    probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return the largest probability of each sample and whether its class is the true one (lowest index on ties).

    Raises:
        CallError, VlmDataError: see `check_probabilities`.

    Example:
        >>> confidences, correct = top_class(np.array([[0.9, 0.1], [0.25, 0.75]]), np.array([0, 0]))
        >>> confidences.tolist(), correct.tolist()
        ([0.9, 0.75], [True, False])
    """
    check_probabilities(probabilities, labels)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


@dataclasses.dataclass(frozen=True, eq=False)
class ReliabilityTable:
    """What a reliability diagram shows: accuracy against confidence, bin by bin.

    Attributes:
        edges: bin edges, ascending from 0 to 1.
        accuracy: share of right answers per bin; 0 where the bin is empty.
        confidence: mean confidence per bin; 0 where the bin is empty.
        count: number of samples per bin.
    """

    edges: Float64[np.ndarray, " edges"]
    accuracy: Float64[np.ndarray, " bins"]
    confidence: Float64[np.ndarray, " bins"]
    count: Int64[np.ndarray, " bins"]

    @property
    def mean_accuracy(self) -> float:
        """Accuracy of all samples, in [0, 1]."""
        return float((self.accuracy * self.count).sum() / self.count.sum())

    @property
    def mean_confidence(self) -> float:
        """Mean confidence of all samples, in [0, 1]."""
        return float((self.confidence * self.count).sum() / self.count.sum())

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy, in [-1, 1]: positive when the model believes too much in its answers."""
        return self.mean_confidence - self.mean_accuracy


def reliability_table(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
    *,
    bins: int = 15,
    closed: Closed = "right",
) -> ReliabilityTable:
    """Return accuracy, mean confidence and number of samples per bin of the largest probability.

    Args:
        probabilities: (n, c) rows that sum to 1.
        labels: (n,) index of the true class.
        bins: number of bins of equal width.
        closed: edge that belongs to a bin, see `bin_indices`.

    Raises:
        CallError, VlmDataError: see `bin_indices` and `check_probabilities`.

    Example:
        >>> table = reliability_table(np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]), np.array([0, 0, 1]), bins=2)
        >>> table.count.tolist(), table.accuracy.round(2).tolist(), table.confidence.round(2).tolist()
        ([0, 3], [0.0, 0.67], [0.0, 0.77])
    """
    confidences, correct = top_class(probabilities, labels)
    index = bin_indices(confidences, bins, closed)
    count = np.bincount(index, minlength=bins)
    filled = np.maximum(count, 1)
    accuracy = np.bincount(index, weights=correct, minlength=bins) / filled
    confidence = np.bincount(index, weights=confidences, minlength=bins) / filled
    return ReliabilityTable(bin_edges(bins), accuracy, confidence, count)
