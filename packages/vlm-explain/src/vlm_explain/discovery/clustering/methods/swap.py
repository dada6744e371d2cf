"""k-medoids by eager swaps: a medoid is exchanged as soon as that makes the sum of distances smaller."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int64

from vlm_explain.discovery.clustering.assignment import Clustering, MethodInfo, nearest_medoid, without_empty
from vlm_explain.discovery.clustering.points import Points
from vlm_explain.discovery.clustering.seeding import greedy_start

INFO = MethodInfo("k-medoids by eager swaps: better clusters than `alternate`, slower", needs_distances=True)
_LEAST = 1e-9
"""Share of the sum of distances that a swap must save: less is rounding."""


@dataclasses.dataclass(frozen=True)
class _Nearest:
    """The nearest and the second nearest medoid of every point, as positions in `medoids`, and how far they are."""

    distances: Float[np.ndarray, "n n"]
    medoids: Int64[np.ndarray, " k"]
    first: Int64[np.ndarray, " n"]
    second: Int64[np.ndarray, " n"]
    to_first: Float[np.ndarray, " n"]
    to_second: Float[np.ndarray, " n"]

    def look_up(self, points: Int64[np.ndarray, " m"]) -> None:
        """Find the medoids of some points among all."""
        to_medoids, columns = self.distances[np.ix_(self.medoids, points)], np.arange(len(points))
        for place, distance in ((self.first, self.to_first), (self.second, self.to_second)):
            place[points] = nearest = to_medoids.argmin(axis=0)
            distance[points] = to_medoids[nearest, columns]
            to_medoids[nearest, columns] = np.inf

    def best_swap(self, candidate: int) -> tuple[int, float]:
        """Return the medoid to exchange for a point, and how much that changes the sum of distances."""
        nearest = np.minimum(self.distances[candidate], self.to_first)
        # What a point loses with its medoid: it goes to the candidate or to its second, whichever is nearer.
        # In float64, so that rounding never passes for a gain: swaps that gain nothing would never end.
        losses = np.subtract(np.minimum(self.distances[candidate], self.to_second), nearest, dtype=np.float64)
        removal = np.bincount(self.first, losses, minlength=len(self.medoids))
        position = int(removal.argmin())
        added = nearest.sum(dtype=np.float64) - self.to_first.sum(dtype=np.float64)
        return position, float(removal[position] + added)

    def swap(self, position: int, candidate: int) -> None:
        """Put a point in the place of a medoid; only points that lose a medoid look among all of them."""
        self.medoids[position] = candidate
        distance = self.distances[candidate]
        lost = (self.first == position) | (self.second == position)
        closest = ~lost & (distance < self.to_first)
        self.second[closest], self.to_second[closest] = self.first[closest], self.to_first[closest]
        self.first[closest], self.to_first[closest] = position, distance[closest]
        between = ~lost & ~closest & (distance < self.to_second)
        self.second[between], self.to_second[between] = position, distance[between]
        self.look_up(np.flatnonzero(lost))


def fit(points: Points, count: int, *, seed: int) -> Clustering:
    """Return `count` clusters, or fewer if points coincide, from a greedy k-medoids++ start."""
    distances = points.distances
    start = greedy_start(distances.__getitem__, len(points), count, seed=seed)
    return without_empty(from_start(distances, start))


def from_start(distances: Float[np.ndarray, "n n"], medoids: Int64[np.ndarray, " k"]) -> Clustering:
    """Return clusters that no exchange of one medoid for another point makes better.

    The points are tried in turns; an exchange that saves anything is made at once (FasterPAM, Schubert and Rousseeuw
    2021). A try costs O(n), whatever k is: the sum after the exchange of medoid i for x is that of the smaller of the
    distances to x and to the nearest medoid, plus what the points of i lose with it.

    Args:
        distances: (n, n) symmetric, zero diagonal.
        medoids: where to start, row numbers.

    Example:
        >>> line = np.array([0.0, 0.1, 0.2, 0.7, 0.8, 0.9])
        >>> from_start(abs(line[:, None] - line), np.array([0, 1]))
        Clustering(labels=array([1, 1, 1, 0, 0, 0]), medoids=array([4, 1]), inertia=0.4)
    """
    size = len(distances)
    places = (np.zeros(size, dtype=np.int64) for _ in range(2))
    state = _Nearest(distances, medoids.copy(), *places, *np.zeros((2, size), dtype=distances.dtype))
    state.look_up(np.arange(size))
    candidate = failures = 0
    while failures < size:
        position, change = state.best_swap(candidate)
        if change < -_LEAST * state.to_first.sum(dtype=np.float64):
            state.swap(position, candidate)
            failures = 0
        else:
            failures += 1
        candidate = (candidate + 1) % size
    return nearest_medoid(distances, state.medoids)
