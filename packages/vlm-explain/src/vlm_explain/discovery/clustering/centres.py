"""Clusters around centres, which are directions and no points: nearest centre, new centres, medoids."""

import numpy as np
from jaxtyping import Float, Int64

from vlm_explain.discovery.clustering.assignment import Clustering
from vlm_explain.discovery.clustering.points import Points

_ROWS = 4096
"""Rows of similarities held at a time."""


def nearest_centres(
    embeddings: Float[np.ndarray, "n d"], centres: Float[np.ndarray, "k d"]
) -> tuple[Int64[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the centre with the largest cosine for every row, the first on ties, and that cosine.

    Example:
        >>> nearest_centres(np.array([[0.6, 0.8]]), np.eye(2))
        (array([1]), array([0.8]))
    """
    labels = np.empty(len(embeddings), dtype=np.int64)
    cosines = np.empty(len(embeddings), dtype=embeddings.dtype)
    for first in range(0, len(embeddings), _ROWS):
        rows = slice(first, first + _ROWS)
        similarities = embeddings[rows] @ centres.T
        labels[rows] = similarities.argmax(axis=1)
        cosines[rows] = similarities.max(axis=1)
    return labels, cosines


def cluster_sums(
    embeddings: Float[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], count: int
) -> Float[np.ndarray, "count d"]:
    """Return the sum of the rows of every cluster, a row of zeros for an empty one.

    Example:
        >>> cluster_sums(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([2, 0, 2]), 3)
        array([[0., 1.], [0., 0.], [2., 0.]])
    """
    # In float64 whatever the rows are: a million of them are summed.
    sums = np.zeros((count, embeddings.shape[1]))
    for first in range(0, len(labels), _ROWS):
        rows = slice(first, first + _ROWS)
        order = np.argsort(labels[rows], kind="stable")
        present, starts = np.unique(labels[rows][order], return_index=True)
        sums[present] += np.add.reduceat(embeddings[rows][order], starts)
    return sums


def directions(sums: Float[np.ndarray, "k d"], otherwise: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k d"]:
    """Return sums at length 1, in the type of `otherwise`, whose row is taken where a sum has no direction.

    Example:
        >>> directions(np.array([[3.0, 4.0], [0.0, 0.0]]), np.eye(2))
        array([[0.6, 0.8],
               [0. , 1. ]])
    """
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    known = lengths > 0
    return np.where(known, sums / np.where(known, lengths, 1), otherwise).astype(otherwise.dtype)


def around_centres(points: Points, centres: Float[np.ndarray, "k d"]) -> Clustering:
    """Return the clusters of the nearest centres; the medoid is the member nearest to the centre, the first on ties.

    Centres that are nearest to no point are left out, so there may be fewer clusters than centres.

    Example:
        >>> around_centres(Points(np.eye(3)), np.array([[0.0, 0.6, 0.8], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
        Clustering(labels=array([1, 0, 0]), medoids=array([2, 0]), inertia=1.0)
    """
    nearest, cosines = nearest_centres(points.embeddings, centres)
    order = np.lexsort((-cosines, nearest))
    present, firsts = np.unique(nearest[order], return_index=True)
    labels, medoids = np.searchsorted(present, nearest), order[firsts]
    return Clustering(labels, medoids, total_distance(points, medoids[labels]))


def total_distance(points: Points, others: Int64[np.ndarray, " n"]) -> float:
    """Return the sum of the distances of every point to the point named for it.

    Example:
        >>> total_distance(Points(np.eye(2)), np.array([0, 0]))
        1.0
    """
    total = 0.0
    for first in range(0, len(points), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(points)))
        total += float(points.distances_between(rows, others[rows]).sum(dtype=np.float64))
    return total
