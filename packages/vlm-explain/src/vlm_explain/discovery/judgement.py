"""Which clusters are spurious features, and in which order."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vlm_explain.discovery.options import STRATEGIES, DiscoveryOptions
from vlm_explain.discovery.pull import pulls
from vlm_explain.discovery.relations import class_ties
from vlm_explain.discovery.significance import gap_p_values
from vlm_explain.discovery.statistics import ClusterStatistics

STRATEGY, CLASS_TIE, MINIMUM_GAP, SIGNIFICANCE = "strategy", "class-tie", "minimum-gap", "significance"


@dataclasses.dataclass(frozen=True, eq=False)
class Judgement:
    """What each cluster passed.

    Attributes:
        scores: (C,) of the strategy.
        passed: for each criterion, in the order in which they are told, (C,) is it met.
        p_values: (C,) corrected for the number of clusters, NaN for clusters that were not tested.
        ties: (C,) see `class_ties`.
        pulls: (C, L) see `pulls`.
        absence: (C,) is the feature that the cluster is absent.
        order: positions of the clusters that pass all criteria, best first.
    """

    scores: Float64[np.ndarray, " C"]
    passed: dict[str, Bool[np.ndarray, " C"]]
    p_values: Float64[np.ndarray, " C"]
    ties: Float64[np.ndarray, " C"]
    pulls: Float64[np.ndarray, "C L"]
    absence: Bool[np.ndarray, " C"]
    order: Int64[np.ndarray, " passing"]

    def sieved(self) -> dict[str, Bool[np.ndarray, " C"]]:
        """Return which clusters are left after each criterion and those before it."""
        left, found = np.ones(len(self.scores), dtype=bool), {}
        for name, passed in self.passed.items():
            left = left & passed
            found[name] = left
        return found


def judge_clusters(statistics: ClusterStatistics, options: DiscoveryOptions) -> Judgement:
    """Score the clusters, and decide which pass and in which order.

    By score, of equal ones the smaller id first; with `presence_first`, clusters whose absence is the feature come
    after all others. With two classes absence cannot be told from presence: what draws to one class draws from the
    other.

    Args:
        statistics: of the clusters.
        options: strategy, floors, level.
    """
    scores, passes = STRATEGIES.load(options.strategy).score(statistics, options)
    ties, drawn = class_ties(statistics), pulls(statistics)
    passed = {STRATEGY: passes, CLASS_TIE: ties <= options.class_tie}
    passed[MINIMUM_GAP] = _both_ways(statistics) >= options.minimum_gap
    p_values = np.full(len(scores), np.nan)
    if options.level < 1:
        tested = passed[CLASS_TIE] & _could_reach(statistics, options.minimum_gap)
        p_values = gap_p_values(statistics, tested, permutations=options.permutations, seed=options.seed)
        passed[SIGNIFICANCE] = p_values <= options.level
    several = statistics.answers.classes > 2
    absence = (-drawn.min(axis=1) > drawn.max(axis=1)) & several
    last = absence & options.presence_first
    order = np.lexsort((statistics.ids, -scores, last))
    whole = np.logical_and.reduce(list(passed.values()))
    return Judgement(scores, passed, p_values, ties, drawn, absence, order[whole[order]])


def _both_ways(statistics: ClusterStatistics) -> Float64[np.ndarray, " C"]:
    """Return the smaller of the largest gain and the largest loss of a class, 0 where there is none."""
    weighted = np.nan_to_num(statistics.gaps.weighted)
    return np.minimum(weighted.max(axis=1), -weighted.min(axis=1)).clip(min=0)


def _could_reach(statistics: ClusterStatistics, minimum_gap: float) -> Bool[np.ndarray, " C"]:
    """Return which clusters divide two classes evenly enough for the least gap both ways, whatever the answers are."""
    weights = np.sort(np.nan_to_num(statistics.gaps.weights), axis=1)
    return weights[:, -2:].min(axis=1) >= minimum_gap
