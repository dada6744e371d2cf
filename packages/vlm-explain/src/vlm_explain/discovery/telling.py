"""From arrays over clusters to one entry per cluster."""

import numpy as np
from jaxtyping import Float, Int64

from vlm_explain.discovery.finding import Finding, Gap
from vlm_explain.discovery.gaps import gap_scores
from vlm_explain.discovery.intervals import gap_intervals
from vlm_explain.discovery.judgement import Judgement
from vlm_explain.discovery.options import DiscoveryOptions
from vlm_explain.discovery.relations import incidence_correlations
from vlm_explain.discovery.statistics import ClusterStatistics

_SHOWN = 100


def findings(
    statistics: ClusterStatistics,
    judgement: Judgement,
    medoids: Int64[np.ndarray, " C"],
    embeddings: Float[np.ndarray, "k d"],
    class_names: tuple[str, ...],
    options: DiscoveryOptions,
) -> tuple[Finding, ...]:
    """Return one entry per cluster: those that pass everything by rank, then the others by score.

    Args:
        statistics: of the clusters.
        judgement: of them.
        medoids: row of the region that stands for each.
        embeddings: of all regions.
        class_names: of the classes.
        options: threshold for clusters in the same images.
    """
    rank = {int(position): number for number, position in enumerate(judgement.order, start=1)}
    rest = np.lexsort((statistics.ids, -judgement.scores))
    order = [*map(int, judgement.order), *(int(position) for position in rest if int(position) not in rank)]
    gaps, scores = _gaps(statistics, class_names), gap_scores(statistics.gaps.weighted)
    correlations = incidence_correlations(statistics)
    similarity = np.einsum("kd,kd->k", embeddings, embeddings[medoids[statistics.position]])
    by_cluster = np.lexsort((-similarity, statistics.position))
    starts = np.searchsorted(statistics.position[by_cluster], np.arange(len(statistics.ids)))
    weighted = np.nan_to_num(statistics.gaps.weighted)
    found = []
    for c in order:
        absent = bool(judgement.absence[c])
        pull = judgement.pulls[c]
        best = int(weighted[c].argmin() if absent else weighted[c].argmax())
        members = by_cluster[starts[c] : starts[c] + min(_SHOWN, statistics.sizes[c])]
        found.append(
            Finding(
                cluster=int(statistics.ids[c]),
                rank=rank.get(c),
                regions=int(statistics.sizes[c]),
                images=int(statistics.images[c]),
                score=float(judgement.scores[c]),
                gap_score=float(scores[c]),
                influence=_number(statistics.influence[c]),
                p_value=_number(judgement.p_values[c]),
                class_tie=float(judgement.ties[c]),
                attribute=class_names[best] if weighted[c, best] * (-1 if absent else 1) > 0 else None,
                pull=float(pull[np.abs(pull).argmax()]),
                is_absence=absent,
                complement=_complement(statistics, correlations[c], judgement, options) if absent else None,
                same=_same(statistics, correlations[c], c, options),
                failed=tuple(name for name, passed in judgement.passed.items() if not passed[c]),
                medoid=int(medoids[c]),
                ranked=tuple(int(row) for row in members),
                gaps=gaps[c],
            )
        )
    return tuple(found)


def _same(
    statistics: ClusterStatistics, correlations: np.ndarray, own: int, options: DiscoveryOptions
) -> tuple[int, ...]:
    others = np.flatnonzero(correlations >= options.same_images)
    return tuple(int(statistics.ids[c]) for c in others if c != own)


def _complement(
    statistics: ClusterStatistics, correlations: np.ndarray, judgement: Judgement, options: DiscoveryOptions
) -> int | None:
    """Return the id of the cluster that is there where this one is not."""
    candidates = np.where(judgement.absence, 0.0, correlations)
    opposite = int(candidates.argmin())
    return int(statistics.ids[opposite]) if candidates[opposite] <= -options.same_images else None


def _gaps(statistics: ClusterStatistics, class_names: tuple[str, ...]) -> list[tuple[Gap, ...]]:
    gaps = statistics.gaps
    low, high = gap_intervals(gaps)
    columns = (gaps.accuracy_with, gaps.accuracy_without, gaps.weighted, low, high)
    return [
        tuple(
            Gap(
                class_names[label],
                int(gaps.with_[c, label]),
                int(gaps.without[c, label]),
                *(_number(column[c, label]) for column in columns),
            )
            for label in np.flatnonzero(gaps.with_[c])
        )
        for c in range(len(statistics.ids))
    ]


def _number(value: float) -> float | None:
    """Return what JSON can hold: nothing in place of NaN and infinity."""
    return float(value) if np.isfinite(value) else None
