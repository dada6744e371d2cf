"""Error contribution plus static bias, class by class: after TRoVe (NeurIPS 2025).

For every class that a cluster harms: the error contribution is accuracy without minus accuracy with; the bias is the
mean probability that the regions of the cluster, in the wrong images of the class, give to the wrong answer of their
image. That the items of the bias are regions is our reading: the published one has features of video frames.
"""

import numpy as np
from jaxtyping import Bool, Float64

from vlm_explain.discovery.incidence import shares
from vlm_explain.discovery.options import DiscoveryOptions, StrategyInfo
from vlm_explain.discovery.statistics import ClusterStatistics

INFO = StrategyInfo("error contribution plus static bias by class (after TRoVe)")
_CONTRIBUTION, _RAREST, _COMMONEST = 0.1, 0.15, 0.85


def score(
    statistics: ClusterStatistics, options: DiscoveryOptions
) -> tuple[Float64[np.ndarray, " C"], Bool[np.ndarray, " C"]]:
    """Return what ranks the clusters, the largest sum over classes, and which of them have a class that counts."""
    del options
    gaps = statistics.gaps
    frequency = shares(gaps.with_, gaps.with_ + gaps.without)
    contribution, bias = -gaps.raw, static_bias(statistics)
    counts = (contribution > _CONTRIBUTION) & (frequency >= _RAREST) & (frequency <= _COMMONEST)
    counts &= bias > 1 / gaps.with_.shape[1]
    total = np.where(counts, contribution + bias, -np.inf).max(axis=1)
    return np.where(np.isfinite(total), total, 0.0), np.isfinite(total)


def static_bias(statistics: ClusterStatistics) -> Float64[np.ndarray, "C L"]:
    """Return the mean probability of the wrong answer over regions of the cluster in wrong images of the class.

    NaN where there is no such region.
    """
    answers, image, position = statistics.answers, statistics.image_of, statistics.position
    clusters, classes = statistics.gaps.with_.shape
    wrong = ~answers.correct[image]
    flat = position[wrong] * classes + answers.labels[image[wrong]]
    given = statistics.region_scores[wrong, answers.predicted[image[wrong]]]
    total = np.bincount(flat, given, minlength=clusters * classes)
    count = np.bincount(flat, minlength=clusters * classes)
    return shares(total, count).reshape(clusters, classes)
