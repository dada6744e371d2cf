"""k-means on the sphere from random batches: only the last pass sees all points."""

import numpy as np

from vlm_explain.discovery.clustering.assignment import Clustering, MethodInfo
from vlm_explain.discovery.clustering.centres import (
    around_centres,
    cluster_sums,
    directions,
    nearest_centres,
)
from vlm_explain.discovery.clustering.methods.clara import medoids_of, random_sample
from vlm_explain.discovery.clustering.points import Points

INFO = MethodInfo("spherical k-means from random batches, for a million points and more", needs_distances=False)
_BATCHES, _BATCH = 100, 4096


def fit(points: Points, count: int, *, seed: int) -> Clustering:
    """Return at most `count` clusters by mini-batch k-means (Sculley 2010) on the sphere.

    A centre is the direction of the sum of all points of all batches that were nearest to it when they came, 100
    batches of 4096 points; the first centres are the medoids of a random sample. Then all points are given to their
    nearest centres.

    Example:
        >>> fit(Points(np.repeat(np.eye(3), 5, axis=0)), 3, seed=0).inertia
        0.0
    """
    random = np.random.default_rng(seed)
    rows = random_sample(len(points), count, random)
    centres = points.embeddings[medoids_of(points, rows, count, seed=seed)]
    sums = np.zeros(centres.shape)
    for _ in range(_BATCHES):
        batch = points.embeddings[random.integers(len(points), size=min(_BATCH, len(points)))]
        sums += cluster_sums(batch, nearest_centres(batch, centres)[0], len(centres))
        centres = directions(sums, centres)
    return around_centres(points, centres)
