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
    sentences = [f"Of {len(statistics.ids)} clusters"]
    said = {
        STRATEGY: f"{left[STRATEGY].sum()} pass the strategy {options.strategy}",
        CLASS_TIE: f"{left[CLASS_TIE].sum()} of these do not follow the class (tie at most {options.class_tie:g})",
        MINIMUM_GAP: f"{left[MINIMUM_GAP].sum()} of these raise one class and lower another by {options.minimum_gap:g}",
    }
    if SIGNIFICANCE in left:
        smallest = judgement.p_values[left[MINIMUM_GAP]].min(initial=1.0)
        said[SIGNIFICANCE] = (
            f"none of these is significant at the level {options.level:g} (smallest corrected p-value {smallest:.2g})"
        )
    for name, words in said.items():
        sentences.append(words if left[name].any() else words.replace("0 ", "none ", 1))
        if not left[name].any():
            break
    return f"{sentences[0]}, {', '.join(sentences[1:])}."
