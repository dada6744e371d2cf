"""Everything that is counted about clusters before any of them is judged."""

import dataclasses
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from vlm_explain.discovery.gaps import ClassGaps, class_gaps
from vlm_explain.discovery.incidence import Incidence
from vlm_explain.discovery.influence import NO_REGION, influences, influential_regions


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What a model answered on n labelled images.

    Attributes:
        labels: (n,) true class.
        predicted: (n,) answer.
        scores: (n, L) probabilities; their largest, not `predicted`, chooses the class that regions are asked for.
    """

    labels: Int64[np.ndarray, " n"]
    predicted: Int64[np.ndarray, " n"]
    scores: Float[np.ndarray, "n L"]

    @property
    def classes(self) -> int:
        """L."""
        return self.scores.shape[1]

    @property
    def correct(self) -> Bool[np.ndarray, " n"]:
        """Is the answer the label."""
        return self.labels == self.predicted


@dataclasses.dataclass(frozen=True, eq=False)
class ClusterStatistics:
    """Clusters of regions against the answers on their images; axis C follows `ids`.

    Attributes:
        ids: (C,) cluster ids that occur, increasing; they may have holes.
        sizes: (C,) regions of each.
        answers: on the images.
        incidence: which images have a region in which cluster.
        gaps: accuracies of each class with and without each cluster.
        influence: (C,) see `influences`.
        image_of: (k,) row of the image of each region.
        position: (k,) position in `ids` of the cluster of each region.
        region_scores: (k, L) probabilities.
    """

    ids: Int64[np.ndarray, " C"]
    sizes: Int64[np.ndarray, " C"]
    answers: Answers
    incidence: Incidence
    gaps: ClassGaps
    influence: Float64[np.ndarray, " C"]
    image_of: Int64[np.ndarray, " k"]
    position: Int64[np.ndarray, " k"]
    region_scores: Float[np.ndarray, "k L"]

    @cached_property
    def images(self) -> Int64[np.ndarray, " C"]:
        """Images that have a region in the cluster."""
        return np.bincount(self.incidence.cluster, minlength=len(self.ids))


def cluster_statistics(
    answers: Answers,
    image_of: Int64[np.ndarray, " k"],
    clusters: Int64[np.ndarray, " k"],
    region_scores: Float[np.ndarray, "k L"],
) -> ClusterStatistics:
    """Count gaps and influence of all clusters at once.

    Args:
        answers: on the images.
        image_of: row of the image of each region, not decreasing; images without regions are allowed.
        clusters: cluster id of each region; any numbers.
        region_scores: probabilities of the classes for each region.

    Example:
        >>> answers = Answers(np.array([0, 1]), np.array([0, 0]), np.array([[0.9, 0.1], [0.6, 0.4]]))
        >>> found = cluster_statistics(answers, np.array([0, 1, 1]), np.array([7, 7, 3]), np.full((3, 2), 0.5))
        >>> found.ids.tolist(), found.sizes.tolist(), found.images.tolist()
        ([3, 7], [1, 2], [1, 2])
    """
    ids, position, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    n, classes = answers.scores.shape
    incidence = Incidence.of(image_of, position, images=n, clusters=len(ids))
    gaps = class_gaps(incidence, answers.labels, answers.correct, classes)
    best = influential_regions(answers.scores, region_scores, image_of)
    several = np.bincount(image_of, minlength=n) >= 2
    found = np.full(n, NO_REGION, dtype=np.int64)
    found[best >= 0] = position[best[best >= 0]]
    influence = influences(incidence, answers.labels, ~answers.correct & several, found, gaps.raw)
    return ClusterStatistics(ids, sizes, answers, incidence, gaps, influence, image_of, position, region_scores)
