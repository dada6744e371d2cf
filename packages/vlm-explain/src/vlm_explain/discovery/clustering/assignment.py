"""What a clustering is: the cluster of every region, and the region that stands for every cluster."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int64


@dataclasses.dataclass(frozen=True)
class Clustering:
    """A division of n points into k clusters.

    Attributes:
        labels: (n,) the cluster of every point, in [0, k).
        medoids: (k,) the point that stands for every cluster, a row number.
        inertia: sum of the distances of all points to the medoid of their cluster, lower is better. Between runs with
            the same distances only.
    """

    labels: Int64[np.ndarray, " n"]
    medoids: Int64[np.ndarray, " k"]
    inertia: float


@dataclasses.dataclass(frozen=True)
class MethodInfo:
    """What a clustering algorithm tells about itself before it is called.

    Attributes:
        summary: one sentence.
        needs_distances: whether the distances of all pairs are held in memory.
    """

    summary: str
    needs_distances: bool


def nearest_medoid(distances: Float[np.ndarray, "n n"], medoids: Int64[np.ndarray, " k"]) -> Clustering:
    """Return the clustering in which every point belongs to the nearest medoid, the first of equally near ones.

    Example:
        >>> distances = np.array([[0, 0.2, 1.0], [0.2, 0, 0.7], [1.0, 0.7, 0]])
        >>> nearest_medoid(distances, np.array([2, 0]))
        Clustering(labels=array([1, 1, 0]), medoids=array([2, 0]), inertia=0.2)
    """
    to_medoids = distances[medoids]
    inertia = float(to_medoids.min(axis=0).sum(dtype=np.float64))
    return Clustering(to_medoids.argmin(axis=0), medoids, inertia)


def without_empty(clustering: Clustering) -> Clustering:
    """Return the clustering with clusters of no point left out, and the others numbered anew in the same order.

    k-medoids leaves a cluster empty where its medoid is at no distance from another one: rows that differ in the last
    bit only.

    Example:
        >>> without_empty(Clustering(np.array([2, 0, 2]), np.array([1, 1, 0]), 0.0))
        Clustering(labels=array([1, 0, 1]), medoids=array([1, 0]), inertia=0.0)
    """
    present, labels = np.unique(clustering.labels, return_inverse=True)
    return Clustering(labels, clustering.medoids[present], clustering.inertia)
