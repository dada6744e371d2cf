"""Choosing images so that a feature that they have by nature goes with a class as strongly as wanted."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int64

from vlm_data.controlled.correlation import correlated_counts
from vlm_data.errors import CallError


def cell_sizes(
    labels: Int64[np.ndarray, " n"], feature: Bool[np.ndarray, " n"], classes: int
) -> Int64[np.ndarray, "classes 2"]:
    """Return the number of images of each class without and with the feature.

    Example:
        >>> cell_sizes(np.array([0, 1, 1]), np.array([True, False, True]), 2).tolist()
        [[0, 1], [1, 1]]
    """
    return np.bincount(2 * labels + feature, minlength=2 * classes).reshape(classes, 2)


def split_cells(
    labels: Int64[np.ndarray, " n"],
    feature: Bool[np.ndarray, " n"],
    shares: Mapping[str, float],
    rest: str,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the split of every image: of each cell (class, feature) the same shares, rounded, drawn.

    Args:
        labels: (n,) class of each image.
        feature: (n,) does it have the feature.
        shares: fraction of every cell by split.
        rest: the split of the others.
        rng: draws.

    Example:
        >>> drawn = split_cells(np.zeros(5, int), np.ones(5, bool), {"val": 0.4}, "train", np.random.default_rng(0))
        >>> sorted(drawn.tolist())
        ['train', 'train', 'train', 'val', 'val']
    """
    splits = np.full(len(labels), rest, dtype=object)
    for cell in np.unique(2 * labels + feature):
        rows = rng.permutation(np.flatnonzero(2 * labels + feature == cell))
        start = 0
        for split, share in shares.items():
            count = round(share * len(rows))
            splits[rows[start : start + count]] = split
            start += count
    return splits


def largest_counts(
    available: Int64[np.ndarray, "classes 2"], spurious_class: int, v: float, most: int
) -> Int64[np.ndarray, "classes 2"]:
    """Return how many images of each cell make the largest set of equal classes with the wanted Cramer's V.

    Args:
        available: (L, 2) images of each class without and with the feature.
        spurious_class: the class that the feature goes with.
        v: Cramer's V of class and feature, in [0, 1].
        most: images in all.

    Raises:
        CallError: if not even one image of each class can be had.

    Example:
        >>> largest_counts(np.array([[10, 30], [50, 4]]), 0, 0.8, 1000).tolist()
        [[3, 30], [29, 4]]
    """
    classes = len(available)

    def counts(size: int) -> Int64[np.ndarray, "classes 2"]:
        return correlated_counts([size] * classes, spurious_class, v)

    low, high = 0, min(int(available.sum(axis=1).min()), most // classes)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if (counts(middle) <= available).all() else (low, middle - 1)
    if low == 0:
        raise CallError(
            f"no images make a set of {classes} equal classes with V = {v:g}: without and with the feature there are "
            f"{', '.join(f'{absent} and {present}' for absent, present in available.tolist())} images, class by "
            f"class, and at most {most} are wanted. Choose another feature, other classes or a larger number."
        )
    return counts(low)


def balanced_counts(available: Int64[np.ndarray, "classes 2"], most: int) -> Int64[np.ndarray, "classes 2"]:
    """Return the largest counts at which every class has as many images with the feature as without.

    Args:
        available: (L, 2) images of each class without and with the feature.
        most: images in all; classes share it alike.

    Example:
        >>> balanced_counts(np.array([[10, 30], [50, 4]]), 1000).tolist()
        [[10, 10], [4, 4]]
    """
    side = np.minimum(available.min(axis=1), most // (2 * len(available)))
    return np.stack([side, side], axis=1)


def draw_cells(
    labels: Int64[np.ndarray, " n"],
    feature: Bool[np.ndarray, " n"],
    rows: Int64[np.ndarray, " k"],
    counts: Int64[np.ndarray, "classes 2"],
    rng: np.random.Generator,
) -> Int64[np.ndarray, " c"]:
    """Return so many of the rows of each cell, drawn without replacement, in ascending order."""
    chosen = []
    for label, both in enumerate(counts.tolist()):
        for present, count in enumerate(both):
            cell = rows[(labels[rows] == label) & (feature[rows] == bool(present))]
            chosen.append(rng.choice(cell, count, replace=False))
    return np.sort(np.concatenate(chosen))
