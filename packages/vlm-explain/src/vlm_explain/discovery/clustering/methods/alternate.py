"""k-medoids by turns: nearest medoid for every point, best medoid for every cluster."""

import numpy as np
from jaxtyping import Float, Int64

from vlm_explain.discovery.clustering.assignment import Clustering, MethodInfo, nearest_medoid, without_empty
from vlm_explain.discovery.clustering.points import Points
from vlm_explain.discovery.clustering.seeding import greedy_start

INFO = MethodInfo("k-medoids by alternating assignment and medoids, as published with RaVL", needs_distances=True)
_ROUNDS = 300


def fit(points: Points, count: int, *, seed: int) -> Clustering:
    """Return `count` clusters, or fewer if points coincide, from a greedy k-medoids++ start."""
    distances = points.distances
    start = greedy_start(distances.__getitem__, len(points), count, seed=seed)
    return without_empty(from_start(distances, start))


def from_start(
    distances: Float[np.ndarray, "n n"], medoids: Int64[np.ndarray, " k"], *, rounds: int = _ROUNDS
) -> Clustering:
    """Return the clusters that given medoids lead to (Voronoi iteration, Park and Jun 2009).

    A round gives every point to its nearest medoid, the first on ties. Then the member with the smallest summed
    distance to its cluster, the first on ties, takes the place of the medoid, but only if it is strictly better. An
    empty cluster keeps its medoid. It ends when no medoid changes. The result depends on the start, and is seldom the
    best: `swap` finds better ones.

    Args:
        distances: (n, n) symmetric, zero diagonal.
        medoids: where to start, row numbers.
        rounds: the most that are made.

    Example:
        >>> line = np.array([0.0, 0.1, 0.2, 0.7, 0.8, 0.9])
        >>> from_start(abs(line[:, None] - line), np.array([0, 1]))
        Clustering(labels=array([0, 0, 0, 1, 1, 1]), medoids=array([1, 4]), inertia=0.4)
    """
    medoids = medoids.copy()
    for _ in range(rounds):
        before = medoids.copy()
        labels = distances[medoids].argmin(axis=0)
        for cluster in range(len(medoids)):
            members = np.flatnonzero(labels == cluster)
            if len(members):
                medoids[cluster] = _best_member(distances, members, medoids[cluster])
        if np.array_equal(before, medoids):
            break
    return nearest_medoid(distances, medoids)


def _best_member(distances: Float[np.ndarray, "n n"], members: Int64[np.ndarray, " m"], medoid: int) -> int:
    costs = distances[np.ix_(members, members)].sum(axis=1)
    best = int(costs.argmin())
    # Summed again: a medoid that is the double of an earlier one lies in that one's cluster, not in its own.
    now = distances[medoid, members].sum()
    return int(members[best]) if costs[best] < now else medoid
