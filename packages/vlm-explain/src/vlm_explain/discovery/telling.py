"""From arrays over clusters to one entry per cluster."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from vlm_explain.discovery.finding import Finding, Gap
from vlm_explain.discovery.intervals import gap_intervals
from vlm_explain.discovery.judgement import Judgement
from vlm_explain.discovery.options import DiscoveryOptions
from vlm_explain.discovery.relations import incidence_correlations
from vlm_explain.discovery.statistics import ClusterStatistics

_SHOWN = 100
_BLOCK = 1 << 16
"""Regions at a time."""


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
    gaps, correlations = _gaps(statistics, class_names), incidence_correlations(statistics)
    ranked = _by_similarity(statistics, medoids, embeddings)
    return tuple(
        Finding(
            rank=rank.get(c),
            medoid=int(medoids[c]),
            ranked=ranked[c],
            gaps=gaps[c],
            same=_same(statistics, correlations[c], c, options),
            complement=_complement(statistics, correlations[c], judgement, options) if judgement.absence[c] else None,
            **_counted(statistics, judgement, c, class_names),
        )
        for c in order
    )


def _counted(
    statistics: ClusterStatistics, judgement: Judgement, c: int, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """Return what statistics and judgement tell of one cluster."""
    weighted = np.nan_to_num(statistics.gaps.weighted[c])
    absent, pull = bool(judgement.absence[c]), judgement.pulls[c]
    sign = -1 if absent else 1
    needs = sign * weighted > 0  # classes that lose when the feature is absent
    drawn = np.where(needs, sign * pull, -np.inf)
    return {
        "cluster": int(statistics.ids[c]),
        "regions": int(statistics.sizes[c]),
        "images": int(statistics.images[c]),
        "score": float(judgement.scores[c]),
        "gap_score": float(np.abs(weighted).sum()),
        "influence": _number(statistics.influence[c]),
        "p_value": _number(judgement.p_values[c]),
        "class_tie": float(judgement.ties[c]),
        "attribute": class_names[int(drawn.argmax())] if needs.any() else None,
        "pull": float(pull[np.abs(pull).argmax()]),
        "is_absence": absent,
        "failed": tuple(name for name, passed in judgement.passed.items() if not passed[c]),
    }


def _by_similarity(
    statistics: ClusterStatistics, medoids: Int64[np.ndarray, " C"], embeddings: Float[np.ndarray, "k d"]
) -> list[tuple[int, ...]]:
    """Return for each cluster the rows of its regions that are most like its medoid."""
    similarity = _similarity(embeddings, medoids[statistics.position])
    order = np.lexsort((-similarity, statistics.position))
    ends = np.cumsum(statistics.sizes)
    starts = ends - statistics.sizes
    return [tuple(order[start:end][:_SHOWN].tolist()) for start, end in zip(starts, ends, strict=True)]


def _similarity(embeddings: Float[np.ndarray, "k d"], medoid: Int64[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Return the dot product of each region with the medoid of its cluster."""
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(embeddings), _BLOCK)]
    return np.concatenate([(embeddings[rows] * embeddings[medoid[rows]]).sum(axis=1) for rows in blocks])


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
