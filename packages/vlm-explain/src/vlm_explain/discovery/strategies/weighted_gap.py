"""Weighted gaps without the filter of influence: the second row of RaVL's ablation (table 2)."""

import numpy as np
from jaxtyping import Bool, Float64

from vlm_explain.discovery.gaps import gap_scores
from vlm_explain.discovery.options import DiscoveryOptions, StrategyInfo
from vlm_explain.discovery.statistics import ClusterStatistics

INFO = StrategyInfo("weighted gaps, unfiltered (ablation)")


def score(
    statistics: ClusterStatistics, options: DiscoveryOptions
) -> tuple[Float64[np.ndarray, " C"], Bool[np.ndarray, " C"]]:
    """Return what ranks the clusters, and which of them pass."""
    del options
    return gap_scores(statistics.gaps.weighted), np.any(np.isfinite(statistics.gaps.raw), axis=1)
