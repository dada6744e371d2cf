"""How clusters relate to each other and to the classes: same images, complements, tie to a class."""

import numpy as np
from jaxtyping import Float64

from vlm_explain.discovery.incidence import shares
from vlm_explain.discovery.statistics import ClusterStatistics

_BLOCK = 1 << 16
"""Images at a time."""


def incidence_correlations(statistics: ClusterStatistics) -> Float64[np.ndarray, "C C"]:
    """Return the correlation of each two clusters over images: 1 in the same ones, -1 each where the other is not.

    0 where a cluster is in every image: it tells images apart from none.
    """
    table = statistics.incidence.dense
    n = len(table)
    together = np.zeros((table.shape[1],) * 2)
    for start in range(0, n, _BLOCK):
        part = table[start : start + _BLOCK].astype(np.float32)  # whole numbers up to the block: exact
        together += part.T @ part
    mean = together.diagonal() / n
    spread = np.sqrt(mean * (1 - mean))
    covariance = together / n - np.outer(mean, mean)
    both = np.outer(spread, spread)
    return np.divide(covariance, both, out=np.zeros_like(both), where=both > 0)


def class_ties(statistics: ClusterStatistics) -> Float64[np.ndarray, " C"]:
    """Return Cramer's V of each cluster with the class, over images: 0 equally often in all, 1 the class itself.

    RaVL looks for features that classes share in the data the model is judged on. A cluster that follows the class
    there shows the class (the digit, or whatever the model makes of it), and that errors depend on it is no wonder.
    """
    labels, classes = statistics.answers.labels, statistics.answers.classes
    n = len(labels)
    sizes = np.bincount(labels, minlength=classes)
    with_ = statistics.incidence.counts(labels, classes)
    share = with_.sum(axis=1) / n
    rates = np.nan_to_num(shares(with_, sizes))
    between = ((rates - share[:, None]) ** 2 * sizes).sum(axis=1) / n
    variance = share * (1 - share)
    return np.sqrt(np.divide(between, variance, out=np.zeros_like(between), where=variance > 0))
