"""Clustering with a number of clusters that fits: every candidate is tried, the mean silhouette decides."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int64

from vlm_data.errors import CallError, unknown_name
from vlm_data.progress import Progress, silent
from vlm_data.registry import Registry
from vlm_explain.discovery.clustering.assignment import Clustering
from vlm_explain.discovery.clustering.points import Points, distinct_rows
from vlm_explain.discovery.clustering.silhouette import (
    closed_form_silhouettes,
    sampled_silhouettes,
    silhouettes,
)

METHODS = Registry("vlm_explain.discovery.clustering.methods", "clustering method")
AUTO = "auto"
_SMALL, _MIDDLE = 10_000, 100_000
"""Up to so many points `auto` holds all distances (400 MB as float32), or sees all points in every round."""
_SAMPLE = 10_000

Score = Callable[[Points, Int64[np.ndarray, " n"], int], Float[np.ndarray, " m"]]
SILHOUETTES: dict[str, Score] = {
    "exact": lambda points, labels, seed: silhouettes(points.distances, labels),
    "closed-form": lambda points, labels, seed: closed_form_silhouettes(points.embeddings, labels),
    "sampled": lambda points, labels, seed: sampled_silhouettes(points, labels, size=_SAMPLE, seed=seed),
}


@dataclasses.dataclass(frozen=True)
class ClusterChoice:
    """The best clustering, and what it was chosen from.

    Attributes:
        clustering: of the candidate with the largest score, the first on ties.
        candidates: the numbers of clusters that were tried, ascending.
        scores: mean silhouette of each, in [-1, 1]; 0 for a single cluster.
        method: the algorithm, never `auto`.
        silhouette: how the scores were computed, never `auto`.
    """

    clustering: Clustering
    candidates: tuple[int, ...]
    scores: tuple[float, ...]
    method: str
    silhouette: str

    @property
    def score(self) -> float:
        """Mean silhouette of the clustering that was chosen; at 0 or below the points form no clusters."""
        return max(self.scores)

    @property
    def count(self) -> int:
        """How many clusters were asked for where the score is best."""
        return self.candidates[self.scores.index(self.score)]

    @property
    def at_edge(self) -> bool:
        """Whether the best candidate is the first or the last of several: a better one may lie outside."""
        return len(self.candidates) > 1 and self.count in (self.candidates[0], self.candidates[-1])


def cluster(
    embeddings: Float[np.ndarray, "n d"],
    *,
    candidates: Sequence[int],
    method: str = AUTO,
    silhouette: str = AUTO,
    clipped: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> ClusterChoice:
    """Return the clustering with the largest mean silhouette among some numbers of clusters.

    Every candidate starts from the same seed, as published with RaVL. Candidates above the number of distinct rows
    less one are left out, where silhouettes say nothing; if none is left, that number is taken. One or two distinct
    rows are one or two clusters.

    Args:
        embeddings: (n, d) rows of length 1.
        candidates: numbers of clusters to try, for example `candidate_counts(classes)`.
        method: a file of `vlm_explain.discovery.clustering.methods`; `auto` is `alternate` up to 10,000 points,
            `spherical-k-means` up to 100,000, else `mini-batch`.
        silhouette: `exact`, `closed-form` (for unclipped distances), `sampled` (10,000 points), or `auto`: exact
            up to 10,000 points, else closed-form.
        clipped: whether the distance `1 - cosine` ends at 1, as published.
        seed: of every draw.
        progress: told after every candidate.

    Raises:
        CallError: for an unknown method or silhouette, no candidates, some below 1, or rows that are no unit vectors.

    Example:
        >>> corners = np.repeat(np.eye(4), 10, axis=0)
        >>> choice = cluster(corners, candidates=(2, 3))
        >>> choice.count, round(choice.score, 3), choice.at_edge
        (3, 0.737, True)
    """
    points = Points(embeddings, clipped)
    counts = _allowed(embeddings, candidates)
    small = len(points) <= _SMALL
    method = _method_for(len(points)) if method == AUTO else METHODS.canonical(method)
    silhouette = ("exact" if small else "closed-form") if silhouette == AUTO else silhouette
    if silhouette not in SILHOUETTES:
        raise unknown_name("silhouette", silhouette, (*SILHOUETTES, AUTO))
    fit, score = METHODS.load(method).fit, SILHOUETTES[silhouette]
    best, scores = None, []
    for done, count in enumerate(counts, start=1):
        clustering = fit(points, count, seed=seed)
        scores.append(float(score(points, clustering.labels, seed).mean(dtype=np.float64)))
        if best is None or scores[-1] > max(scores[:-1]):
            best = clustering
        progress("clustering, candidates", done, len(counts))
    assert best is not None  # there is one candidate at least
    return ClusterChoice(best, counts, tuple(scores), method, silhouette)


def _method_for(points: int) -> str:
    if points <= _SMALL:
        return "alternate"
    return "spherical-k-means" if points <= _MIDDLE else "mini-batch"


def _allowed(embeddings: Float[np.ndarray, "n d"], candidates: Sequence[int]) -> tuple[int, ...]:
    """Return the candidates that the number of distinct rows leaves."""
    counts = sorted(set(candidates))
    if not counts or counts[0] < 1:
        raise CallError(
            f"the candidates for the number of clusters are {list(candidates)}; expected whole numbers from 1. "
            "Name one at least, for example 20."
        )
    distinct = distinct_rows(embeddings, counts[-1] + 1)
    if distinct <= 2:
        return (distinct,)
    return tuple(count for count in counts if count < distinct) or (distinct - 1,)
