"""How often the region that speaks most for a wrong answer lies in a cluster."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from vlm_explain.discovery.incidence import Incidence, shares

NO_REGION = -1


def influential_regions(
    scores: Float[np.ndarray, "n L"], region_scores: Float[np.ndarray, "k L"], image_of: Int64[np.ndarray, " k"]
) -> Int64[np.ndarray, " n"]:
    """Return for each image its region with the highest score for the class that the image scores highest.

    Args:
        scores: of images; the first of equal classes counts.
        region_scores: probabilities of the classes for each region.
        image_of: row of the image of each region, not decreasing.

    Returns:
        (n,) rows of regions, the first of equal ones; `NO_REGION` for images without regions.

    Example:
        >>> region_scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
        >>> influential_regions(np.array([[0.0, 1.0], [1.0, 0.0]]), region_scores, np.array([0, 0, 0])).tolist()
        [1, -1]
    """
    found = np.full(len(scores), NO_REGION, dtype=np.int64)
    if not len(image_of):
        return found
    score = region_scores[np.arange(len(image_of)), scores.argmax(axis=1)[image_of]]
    starts = np.flatnonzero(np.r_[True, image_of[1:] != image_of[:-1]])
    sizes = np.diff(np.r_[starts, len(image_of)])
    highest = np.flatnonzero(score == np.repeat(np.maximum.reduceat(score, starts), sizes))
    images, first = np.unique(image_of[highest], return_index=True)
    found[images] = highest[first]
    return found


def influences(
    incidence: Incidence,
    labels: Int64[np.ndarray, " n"],
    wrong: Bool[np.ndarray, " n"],
    cluster_of_influential: Int64[np.ndarray, " n"],
    gaps: Float64[np.ndarray, "C L"],
) -> Float64[np.ndarray, " C"]:
    """Return for each cluster the largest share, over the classes that lose by it, of errors that it speaks for.

    Of the wrong images of a class that have a region in the cluster: how many have their influential region there
    (RaVL, NeurIPS 2024, section 3; the largest share, not the mean).

    Args:
        incidence: which images have a region in which cluster.
        labels: true class of each image.
        wrong: images that count: answered wrong, with two regions or more.
        cluster_of_influential: (n,) position of the cluster of the region from `influential_regions`; -1 without one.
        gaps: only classes with a gap below 0 count.

    Returns:
        (C,) in [0, 1], -inf where no such image exists.
    """
    clusters, classes = gaps.shape
    whole = incidence.counts(labels, classes, wrong)
    chosen = wrong & (cluster_of_influential >= 0)
    flat = cluster_of_influential[chosen] * classes + labels[chosen]
    part = np.bincount(flat, minlength=clusters * classes).reshape(clusters, classes)
    share = shares(part, whole)
    share[~(gaps < 0) | (whole == 0)] = -np.inf
    return share.max(axis=1)
