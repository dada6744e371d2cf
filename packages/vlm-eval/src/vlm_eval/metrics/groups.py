"""How scores differ between groups of images: regions, years, anything a data set tells besides the class."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from vlm_data.errors import CallError, VlmDataError
from vlm_eval.metrics.samples import check_samples

NO_REGION = "Other"
"""Images of unknown region; the published worst region leaves them out."""


def group_accuracies(correct: Bool[np.ndarray, " n"], groups: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Return accuracy and number of samples of every group that occurs, in the order of their names.

    Groups without a sample have no accuracy and are left out; the WILDS program tells 0 for them.

    Args:
        correct: is the predicted class the label.
        groups: the group of each sample.

    Raises:
        CallError: if there is not one group for each sample.

    Example:
        >>> group_accuracies(np.array([True, False, True]), ["Asia", "Europe", "Asia"])
        {'Asia': (1.0, 2), 'Europe': (0.0, 1)}
    """
    if len(groups) != len(correct):
        raise CallError(f"there are {len(groups)} groups for {len(correct)} samples; expected one for each.")
    names, members = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    counts = np.bincount(members, minlength=len(names))
    hits = np.bincount(members, weights=correct, minlength=len(names))
    return {str(name): (float(hits[i] / counts[i]), int(counts[i])) for i, name in enumerate(names)}


def worst_group(
    correct: Bool[np.ndarray, " n"], groups: Sequence[str], besides: Collection[str] = ()
) -> tuple[str, float]:
    """Return the group with the lowest accuracy, and that accuracy; the first name wins a tie.

    Args:
        correct: is the predicted class the label.
        groups: the group of each sample.
        besides: groups that do not count.

    Raises:
        CallError: if there is not one group for each sample.
        VlmDataError: if no sample is in a group that counts.

    Example:
        >>> worst_group(np.array([True, False, True]), ["Asia", "Europe", "Asia"])
        ('Europe', 0.0)
    """
    found = {name: score for name, (score, _) in group_accuracies(correct, groups).items() if name not in besides}
    if not found:
        raise VlmDataError(f"no sample is in a group other than {', '.join(besides) or 'none'}; expected at least one.")
    worst = min(found, key=lambda name: (found[name], name))
    return worst, found[worst]


def worst_region_accuracy(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], region: Sequence[str]
) -> float:
    """Return the lowest accuracy of a region that occurs, "Other" left out (FMoW in WILDS, Koh et al. 2021).

    Example:
        >>> logits = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
        >>> worst_region_accuracy(logits, np.array([0, 1, 1]), ["Asia", "Asia", "Other"])
        0.5
    """
    check_samples(logits, labels)
    return worst_group(logits.argmax(axis=1) == labels, region, besides=(NO_REGION,))[1]


def worst_year_accuracy(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], year: Sequence[str]) -> float:
    """Return the lowest accuracy of a year that occurs.

    Example:
        >>> worst_year_accuracy(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]), ["2016", "2017"])
        0.0
    """
    check_samples(logits, labels)
    return worst_group(logits.argmax(axis=1) == labels, year)[1]


def accuracies_by_group(correct: Bool[np.ndarray, " n"], groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the accuracy of every group of every attribute under the name it has in rows of scores.

    Example:
        >>> accuracies_by_group(np.array([True, False]), {"year": ["2016", "2017"]})
        {'accuracy_year:2016': 1.0, 'accuracy_year:2017': 0.0}
    """
    return {
        f"accuracy_{attribute}:{name}": score
        for attribute, values in groups.items()
        for name, (score, _) in group_accuracies(correct, values).items()
    }


SUMMARY = {
    "worst_region_accuracy": {
        "compute": worst_region_accuracy,
        "better": "higher",
        "range": (0.0, 1.0),
        "unit": "share of samples of one region",
    },
    "worst_year_accuracy": {
        "compute": worst_year_accuracy,
        "better": "higher",
        "range": (0.0, 1.0),
        "unit": "share of samples of one year",
    },
}
