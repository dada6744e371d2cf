"""How well separated clusters are: the mean silhouette, from distances, in closed form, or of a sample."""

import numpy as np
from jaxtyping import Float, Int64

from vlm_explain.discovery.clustering.centres import cluster_sums
from vlm_explain.discovery.clustering.points import Points

_ROWS = 4096
"""Rows of similarities held at a time."""


def silhouettes(distances: Float[np.ndarray, "n n"], labels: Int64[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the silhouette of every point (Rousseeuw 1987): 1 deep in its cluster, -1 nearer to another one.

    `s = (b - a) / max(a, b)` with a the mean distance to the other members of its cluster, and b the smallest mean
    distance to another cluster. 0 in a cluster of one point, where a = b = 0, and if there is only one cluster.

    Args:
        distances: (n, n) symmetric, zero diagonal.
        labels: clusters, any whole numbers.

    Example:
        >>> line = np.array([0.0, 0.1, 1.0])
        >>> silhouettes(abs(line[:, None] - line), np.array([4, 4, 7])).round(2)
        array([0.9 , 0.89, 0.  ])
    """
    present, own = np.unique(labels, return_inverse=True)
    sizes = np.bincount(own)
    members = np.zeros((len(labels), len(present)), dtype=distances.dtype)
    members[np.arange(len(labels)), own] = 1
    return _from_sums(distances @ members, own, sizes)


def closed_form_silhouettes(
    embeddings: Float[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return the silhouettes for the UNCLIPPED cosine distance without any pairwise distances.

    The distances of point i to the members of a cluster c sum to `n_c - e_i . S_c`, with S_c the sum of the members'
    unit vectors; its distance to itself is 0. Exact, in O(n k d) time and O(n + k d) memory.

    Args:
        embeddings: (n, d) rows of length 1.
        labels: clusters, any whole numbers.

    Example:
        >>> closed_form_silhouettes(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), np.array([0, 0, 1])).round(2)
        array([0.8, 0.5, 0. ])
    """
    present, own = np.unique(labels, return_inverse=True)
    sizes, sums = np.bincount(own), cluster_sums(embeddings, own, len(present)).astype(embeddings.dtype)
    parts = []
    for first in range(0, len(labels), _ROWS):
        rows = slice(first, first + _ROWS)
        to_clusters = sizes - embeddings[rows] @ sums.T
        parts.append(_from_sums(to_clusters, own[rows], sizes))
    return np.concatenate(parts)


def sampled_silhouettes(
    points: Points, labels: Int64[np.ndarray, " n"], *, size: int, seed: int
) -> Float[np.ndarray, " size"]:
    """Return the silhouettes within a random sample of points, as if there were no others.

    Args:
        points: what was clustered.
        labels: their clusters.
        size: points in the sample; all of them, if there are no more.
        seed: of the draw, without replacement.

    Example:
        >>> points = Points(np.repeat(np.eye(2), 50, axis=0))
        >>> float(sampled_silhouettes(points, np.arange(100) // 50, size=10, seed=0).mean())
        1.0
    """
    drawn = np.random.default_rng(seed).permutation(len(points))[:size]
    return silhouettes(points.select(drawn).distances, labels[drawn])


def _from_sums(
    to_clusters: Float[np.ndarray, "m k"], own: Int64[np.ndarray, " m"], sizes: Int64[np.ndarray, " k"]
) -> Float[np.ndarray, " m"]:
    """Return silhouettes from the summed distances of points to the members of every cluster."""
    rows = np.arange(len(own))
    if len(sizes) == 1:
        return np.zeros(len(own), dtype=to_clusters.dtype)
    within = to_clusters[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = to_clusters / sizes
    means[rows, own] = np.inf
    between = means.min(axis=1)
    larger = np.maximum(within, between)
    separated = (sizes[own] > 1) & (larger > 0)
    return np.where(separated, (between - within) / np.where(separated, larger, 1), 0)
