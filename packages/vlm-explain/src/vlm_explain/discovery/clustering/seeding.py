"""Where k-medoids and k-means start: points that lie far apart."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int64

DistancesFrom = Callable[[Int64[np.ndarray, " m"]], Float[np.ndarray, "m n"]]


def greedy_start(distances_from: DistancesFrom, points: int, count: int, *, seed: int) -> Int64[np.ndarray, " count"]:
    """Return the points to start from, by greedy k-medoids++ (after Arthur and Vassilvitskii 2007).

    The first is drawn uniformly. Each further one is the best of `2 + floor(ln count)` points, drawn with a
    probability proportional to the squared distance to the nearest point chosen so far: the one that leaves the
    smallest sum of these squares. NumPy's `RandomState` is used because its draws never change; with it the starts
    are those of the program published with RaVL, which starts every clustering from the seed 0.

    Args:
        distances_from: gives the distances of some points to all points.
        points: how many there are, at least `count`.
        count: how many to choose.
        seed: of the generator that is made for this call.

    Example:
        >>> corners = np.repeat(np.eye(3), 10, axis=0)
        >>> start = greedy_start(lambda rows: 1 - corners[rows] @ corners.T, 30, 3, seed=0)
        >>> sorted((start // 10).tolist())
        [0, 1, 2]
    """
    random = np.random.RandomState(seed)
    trials = 2 + int(np.log(count))
    chosen = [random.randint(points)]
    nearest = distances_from(np.array(chosen))[0] ** 2
    while len(chosen) < count:
        cumulated = np.cumsum(nearest, dtype=np.float64)
        drawn = np.searchsorted(cumulated, random.random_sample(trials) * cumulated[-1])
        drawn = drawn.clip(max=points - 1)
        left = np.minimum(distances_from(drawn) ** 2, nearest)
        best = int(left.sum(axis=1).argmin())
        chosen.append(int(drawn[best]))
        nearest = left[best]
    return np.array(chosen)
