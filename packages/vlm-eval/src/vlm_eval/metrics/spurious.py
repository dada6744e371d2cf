"""Metrics of a planted spurious correlation: was it learnt, and was it found (RaVL, Varma et al. 2024)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from vlm_data.errors import CallError, unknown_name
from vlm_eval.metrics.subgroups import Subgroups

THRESHOLDS = (0.1, 0.2, 0.3, 0.4)
"""Learnt strength from which a setting counts as valid, fractions; the paper tells results at each."""
RANKS = (10, 25, 100)
"""K of Precision@K and Recall@K; the paper tells 10."""


@dataclasses.dataclass(frozen=True)
class LearntGaps:
    """How much a model leans on a planted feature; fractions, None where a cell that is needed has no sample.

    Attributes:
        epsilon1: accuracy of the spurious class with the feature minus without it.
        epsilon2: the largest accuracy without minus with the feature of any other class.
        class2: index of that class.
    """

    epsilon1: float | None
    epsilon2: float | None
    class2: int | None = None

    @property
    def strength(self) -> float | None:
        """The smaller of the two: the largest threshold below which the setting is valid."""
        return None if self.epsilon1 is None or self.epsilon2 is None else min(self.epsilon1, self.epsilon2)


def learnt_gaps(found: Subgroups, spurious_class: int, present: str, absent: str) -> LearntGaps:
    """Return epsilon1 and epsilon2 of one model (RaVL, appendix on validity).

    `epsilon1 = acc(a, with) - acc(a, without)` for the spurious class a, and
    `epsilon2 = max over c != a of acc(c, without) - acc(c, with)` over classes that have both.

    Args:
        found: accuracy by class and presence of the feature.
        spurious_class: index of the class the feature was tied to.
        present: value of images that hold the feature.
        absent: value of those that do not.

    Raises:
        CallError: if there is no such class or value.

    Example:
        >>> counts = np.full((2, 2), 10)
        >>> found = Subgroups(("with", "without"), np.array([[10, 4], [5, 10]]), counts)
        >>> learnt_gaps(found, 0, "with", "without")
        LearntGaps(epsilon1=0.6, epsilon2=0.5, class2=1)
    """
    if not 0 <= spurious_class < len(found.accuracy):
        raise CallError(f"there is no class {spurious_class}; expected 0 to {len(found.accuracy) - 1}.")
    for value in (present, absent):
        if value not in found.values:
            raise unknown_name("value of the feature", value, found.values)
    with_feature, without = (found.accuracy[:, found.values.index(value)] for value in (present, absent))
    own, other = with_feature - without, without - with_feature
    other[spurious_class] = np.nan
    first = None if np.isnan(own[spurious_class]) else float(own[spurious_class])
    if np.isnan(other).all():
        return LearntGaps(first, None)
    class2 = int(np.nanargmax(other))
    return LearntGaps(first, float(other[class2]), class2)


def is_valid(gaps: Sequence[LearntGaps], threshold: float) -> bool:
    """Return whether a setting is valid: both gaps exceed the threshold for all seeds, equality excluded.

    Args:
        gaps: of every seed.
        threshold: fraction; the paper uses 0.1, 0.2, 0.3 and 0.4.

    Raises:
        CallError: if there is no seed.

    Example:
        >>> is_valid([LearntGaps(0.6, 0.5)], 0.4), is_valid([LearntGaps(0.6, 0.5)], 0.5)
        (True, False)
    """
    if not gaps:
        raise CallError("there is no model to judge the setting by; expected one for every seed.")
    return all(one.strength is not None and one.strength > threshold for one in gaps)


def precision_at(ranked: Bool[np.ndarray, " m"], k: int) -> float:
    """Return the share of the K best-ranked regions that hold the planted feature (RaVL).

    Divided by K also when fewer regions are ranked, so that a cluster of one region cannot be perfect; 0 where
    nothing was found.

    Args:
        ranked: whether each region of the top cluster holds the feature, best first.
        k: 1 or more.

    Raises:
        CallError: if k is less than 1.

    Example:
        >>> precision_at(np.array([True, False, True]), 10)
        0.2
    """
    _check_rank(k)
    return int(ranked[:k].sum()) / k


def recall_at(ranked: Bool[np.ndarray, " m"], k: int, total: int) -> float | None:
    """Return how many of all regions that hold the feature are among the K best-ranked; None if none holds it.

    Args:
        ranked: whether each region of the top cluster holds the feature, best first.
        k: 1 or more.
        total: regions of the whole data set that hold it.

    Raises:
        CallError: if k is less than 1, or more regions are ranked than there are.

    Example:
        >>> recall_at(np.array([True, False, True]), 10, 8)
        0.25
    """
    _check_rank(k)
    if int(ranked.sum()) > total:
        raise CallError(f"{int(ranked.sum())} ranked regions hold the feature, of {total} in all; expected no more.")
    return int(ranked[:k].sum()) / total if total else None


def random_precision_at(spurious: Bool[np.ndarray, " n"], k: int) -> float:
    """Return the Precision@K to expect of a random order of all regions: the share that holds the feature.

    Smaller where there are fewer than K regions, as Precision@K is.

    Example:
        >>> random_precision_at(np.array([True, False, False, False] * 10), 10)
        0.25
    """
    _check_rank(k)
    return int(spurious.sum()) / max(len(spurious), k)


def _check_rank(k: int) -> None:
    if k < 1:
        raise CallError(f"K is {k}; expected 1 or more.")
