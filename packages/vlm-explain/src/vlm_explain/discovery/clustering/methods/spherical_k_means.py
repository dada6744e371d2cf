"""k-means on the sphere: centres are mean directions, no pairwise distances are needed."""

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

INFO = MethodInfo("spherical k-means over all points in every round", needs_distances=False)
_ROUNDS = 20


def fit(points: Points, count: int, *, seed: int) -> Clustering:
    """Return at most `count` clusters by spherical k-means (Dhillon and Modha 2001), 20 rounds at most as in TRoVe.

    A round gives every point to the centre with the largest cosine and turns every centre to the mean direction of
    its points. A centre without points moves to the point that is farthest from its own centre. It starts from the
    medoids of a random sample: from single points that lie far apart, it often leaves two groups in one cluster.

    Example:
        >>> fit(Points(np.repeat(np.eye(3), 5, axis=0)), 3, seed=0).inertia
        0.0
    """
    rows = random_sample(len(points), count, np.random.default_rng(seed))
    centres = points.embeddings[medoids_of(points, rows, count, seed=seed)]
    before = None
    for _ in range(_ROUNDS):
        labels, cosines = nearest_centres(points.embeddings, centres)
        if before is not None and np.array_equal(labels, before):
            break
        before = labels
        centres = directions(cluster_sums(points.embeddings, labels, len(centres)), centres)
        empty = np.flatnonzero(np.bincount(labels, minlength=len(centres)) == 0)
        if len(empty):
            centres[empty] = points.embeddings[np.argsort(cosines, kind="stable")[: len(empty)]]
    return around_centres(points, centres)
