"""k-medoids of samples: the medoids of a sample stand for all points, and the best of several samples is kept."""

import numpy as np
from jaxtyping import Int64

from vlm_explain.discovery.clustering.assignment import Clustering, MethodInfo
from vlm_explain.discovery.clustering.centres import around_centres
from vlm_explain.discovery.clustering.methods import swap
from vlm_explain.discovery.clustering.points import Points

INFO = MethodInfo("k-medoids by eager swaps on samples, for a million points and more", needs_distances=False)
_SAMPLES, _LEAST, _MOST = 5, 2000, 10_000


def fit(points: Points, count: int, *, seed: int) -> Clustering:
    """Return at most `count` clusters by CLARA (Kaufman and Rousseeuw 1990).

    Five random samples are clustered; the medoids with the smallest sum of distances over ALL points win. Samples
    from the second on contain the best medoids so far.

    Example:
        >>> fit(Points(np.repeat(np.eye(3), 5, axis=0)), 3, seed=0).inertia
        0.0
    """
    random = np.random.default_rng(seed)
    best = None
    for _ in range(_SAMPLES):
        rows = random_sample(len(points), count, random)
        if best is not None:
            rows = np.union1d(best.medoids, rows)
        found = around_centres(points, points.embeddings[medoids_of(points, rows, count, seed=seed)])
        if best is None or found.inertia < best.inertia:
            best = found
        if len(rows) == len(points):
            break
    assert best is not None  # there is one sample at least
    return best


def random_sample(points: int, count: int, random: np.random.Generator) -> Int64[np.ndarray, " m"]:
    """Return points for finding `count` medoids, ascending: 10 per cluster, but 2000 to 10,000, or all there are.

    Example:
        >>> [len(random_sample(points, 300, np.random.default_rng(0))) for points in (50, 10_000)]
        [50, 3000]
    """
    size = min(max(_LEAST, 10 * count), _MOST)
    return np.sort(random.permutation(points)[:size])


def medoids_of(points: Points, rows: Int64[np.ndarray, " m"], count: int, *, seed: int) -> Int64[np.ndarray, " k"]:
    """Return up to `count` medoids that eager swaps find among some of the points, as rows of all points.

    Example:
        >>> medoids_of(Points(np.repeat(np.eye(2), 5, axis=0)), np.array([1, 2, 3, 7]), 2, seed=0).tolist()
        [1, 7]
    """
    return rows[swap.fit(points.select(rows), min(count, len(rows)), seed=seed).medoids]
