"""How strongly a feature is tied to a class: Cramer's V, and tables of counts that have a wanted one."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from vlm_data.errors import CallError, VlmDataError

_HALVINGS = 60  # of an interval of 0.5: to the last bit of a float


def cramers_v(table: Shaped[np.ndarray, "r c"] | Sequence[Sequence[int]]) -> float:
    """Return how strongly the rows of a table of counts go with its columns (Cramer 1946).

    V = sqrt(X2 / n / (min(r, c) - 1)) with X2 = sum of (observed - expected)^2 / expected, where expected is row sum
    times column sum over n; without corrections for bias or continuity. 0: no tie, 1: one tells the other.

    Args:
        table: at least two rows and two columns of counts, for example classes x {feature absent, present}.

    Raises:
        VlmDataError: if the table is smaller, has a negative count, or a row or column is empty: V is undefined then.

    Example:
        >>> cramers_v([[10, 0], [0, 30]]), cramers_v([[10, 20], [20, 40]])
        (1.0, 0.0)
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or min(counts.shape) < 2 or not (counts >= 0).all():
        raise VlmDataError(
            f"Cramer's V is asked of a table of shape {counts.shape}; expected counts from 0 on, at least 2 x 2."
        )
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    empty = [
        f"{name} {np.flatnonzero(sums == 0)[0]}" for name, sums in (("row", rows), ("column", columns)) if 0 in sums
    ]
    if empty:
        raise VlmDataError(
            f"Cramer's V is undefined: {' and '.join(empty)} of the table {counts.astype(int).tolist()} is empty. "
            "Leave out classes without images; a feature that is always or never there is tied to nothing."
        )
    expected = np.outer(rows, columns) / counts.sum()
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    return float(np.sqrt(chi2 / counts.sum() / (min(counts.shape) - 1)))


def correlated_counts(
    class_sizes: Sequence[int] | Int64[np.ndarray, " classes"], spurious_class: int, v: float
) -> Int64[np.ndarray, "classes 2"]:
    """Return how many images of each class lack and have the feature, so that Cramer's V comes closest to `v`.

    Let p in [0, 0.5] be a share that deviates from the rule "the feature is there exactly in the spurious class":
    (absent, present) is (n p, n (1 - p)) for the spurious class and (n (1 - p), n p) for the others. V falls from 1
    to 0 as p rises; p is found by bisection and the counts are rounded, those of the others together, so that many
    classes do not add up their rounding. With 4000 images of ten classes the achieved V is within 0.005 of `v`.

    Args:
        class_sizes: images of each class, all above zero.
        spurious_class: index of the class that the feature is tied to.
        v: wanted Cramer's V, from 0 to 1.

    Returns:
        Columns are absent, present; the rows sum to `class_sizes`.

    Raises:
        CallError: for fewer than two classes, an empty one, another index, or a `v` outside of [0, 1].

    Example:
        >>> correlated_counts([400] * 3, spurious_class=2, v=0.9).tolist()
        [[382, 18], [382, 18], [18, 382]]
    """
    sizes = np.asarray(class_sizes, dtype=np.int64)
    if len(sizes) < 2 or (sizes < 1).any():
        raise CallError(f"classes have {sizes.tolist()} images; expected at least two classes, each with images.")
    if not 0 <= spurious_class < len(sizes):
        raise CallError(f"the spurious class is {spurious_class}; expected a number from 0 to {len(sizes) - 1}.")
    if not 0 <= v <= 1:  # also catches NaN
        raise CallError(f"Cramer's V is {v}; expected a number from 0 (no tie) to 1 (the feature is the class).")
    low, high = 0.0, 0.5
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if cramers_v(_table(sizes, spurious_class, sizes * middle)) > v else (low, middle)
    deviating = sizes * ((low + high) / 2)
    own, others = deviating[spurious_class], deviating.sum() - deviating[spurious_class]
    choices = [
        (_table(sizes, spurious_class, _rounded(deviating, spurious_class, int(a), int(b))), a, b)
        for a, b in product({np.floor(own), np.ceil(own)}, {np.floor(others), np.ceil(others)})
        if 2 * a <= sizes[spurious_class]
    ]
    possible = [choice for choice in choices if (choice[0].sum(axis=0) > 0).all()]
    nearest = min(possible, key=lambda choice: (round(abs(cramers_v(choice[0]) - v), 12), *choice[1:]))
    return nearest[0].astype(np.int64)


def _table(
    sizes: Int64[np.ndarray, " classes"], spurious_class: int, deviating: Shaped[np.ndarray, " classes"]
) -> Float64[np.ndarray, "classes 2"]:
    """Return the table in which so many images of each class deviate from the rule."""
    table = np.stack([sizes - deviating, deviating], axis=1).astype(np.float64)
    table[spurious_class] = table[spurious_class, ::-1]
    return table


def _rounded(
    deviating: Float64[np.ndarray, " classes"], spurious_class: int, own: int, others: int
) -> Int64[np.ndarray, " classes"]:
    """Round to `own` for the spurious class and `others` in all for the rest, each by less than one."""
    share = np.where(np.arange(len(deviating)) == spurious_class, 0.0, deviating)
    running = np.rint(np.cumsum(share) * (others / max(share.sum(), 1e-12)))
    counts = np.diff(running, prepend=0.0).astype(np.int64)
    counts[spurious_class] = own
    return counts
