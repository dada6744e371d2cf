"""Why nothing was found, in one paragraph: which criterion the last clusters failed."""

import numpy as np

from vlm_explain.discovery.judgement import CLASS_TIE, MINIMUM_GAP, SIGNIFICANCE, STRATEGY, Judgement
from vlm_explain.discovery.options import DiscoveryOptions
from vlm_explain.discovery.statistics import ClusterStatistics


def reason_for_nothing(statistics: ClusterStatistics, judgement: Judgement, options: DiscoveryOptions) -> str:
    """Return the reason in words.

    Args:
        statistics: of the clusters.
        judgement: none of them passed.
        options: what they were judged by.
    """
    answers = statistics.answers
    n, right = len(answers.labels), int(answers.correct.sum())
    if right in (0, n):
        return (
            f"all {n} images are answered {'right' if right else 'wrong'}, so no class can be better with a cluster "
            "than without it. Judge the model on harder images, or on those it was made for."
        )
    if not np.isfinite(statistics.gaps.raw).any():
        return f"no class of the {n} images has some with and some without a cluster. Take more images."
    if np.bincount(statistics.image_of).max() < 2 and options.strategy == "ravl":
        return (
            "every image has one region only; the influence of a region on an error is that among several. Propose "
            "more regions, or take a strategy without influence, such as weighted-gap."
        )
    left = judgement.sieved()
    said = {
        STRATEGY: f"pass the strategy {options.strategy}",
        CLASS_TIE: f"also the bound on the tie to the class ({options.class_tie:g})",
        MINIMUM_GAP: f"also the least gap both ways ({options.minimum_gap:g})",
    }
    if SIGNIFICANCE in left:
        smallest = judgement.p_values[left[MINIMUM_GAP]].min(initial=1.0)
        said[SIGNIFICANCE] = f"also the test at the level {options.level:g} (smallest corrected p-value {smallest:.2g})"
    words = []
    for name, passed in said.items():
        count = int(left[name].sum())
        words.append(f"{count or 'none'} {passed}")
        if not count:
            break
    return f"Of {len(statistics.ids)} clusters, {', '.join(words)}."
