"""Weighted gaps, and only clusters whose regions speak for the errors on their images: RaVL (NeurIPS 2024)."""

import numpy as np
from jaxtyping import Bool, Float64

from vlm_explain.discovery.gaps import gap_scores
from vlm_explain.discovery.options import DiscoveryOptions, StrategyInfo
from vlm_explain.discovery.statistics import ClusterStatistics

INFO = StrategyInfo("weighted gaps, filtered by influence (RaVL)")


def score(
    statistics: ClusterStatistics, options: DiscoveryOptions
) -> tuple[Float64[np.ndarray, " C"], Bool[np.ndarray, " C"]]:
    """Return what ranks the clusters, and which of them pass."""
    passes = statistics.influence >= options.influence
    if options.both_signs:
        passes &= statistics.gaps.both_signs
    return gap_scores(statistics.gaps.weighted), passes
