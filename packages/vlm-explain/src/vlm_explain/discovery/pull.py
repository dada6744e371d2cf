"""Which answer the presence, or the absence, of a cluster draws wrong images to."""

import numpy as np
from jaxtyping import Float64

from vlm_explain.discovery.incidence import shares
from vlm_explain.discovery.statistics import ClusterStatistics


def pulls(statistics: ClusterStatistics) -> Float64[np.ndarray, "C L"]:
    """Return how much more often images with the cluster are answered a class that is not theirs, than those without.

    The difference of two rates within each true class, averaged over classes with the weights of Mantel and Haenszel
    (with x without / all), which leave no room for classes that are more frequent in the cluster. A gap says that a
    class suffers; this says what it is taken for. A shortcut has one large value: positive where its presence means
    the class, negative where the cluster is its absence.

    Returns:
        (C, L) in [-1, 1]; 0 where every class lies wholly in or outside of the cluster.
    """
    answers, incidence, gaps = statistics.answers, statistics.incidence, statistics.gaps
    classes = answers.classes
    wrong = ~answers.correct
    with_share = np.nan_to_num(shares(gaps.with_, gaps.with_ + gaps.without))
    taken = np.zeros((classes, classes), dtype=np.int64)  # true class, answer
    np.add.at(taken, (answers.labels[wrong], answers.predicted[wrong]), 1)
    observed = incidence.counts(answers.predicted, classes, wrong)
    balance = gaps.without * with_share
    support = balance.sum(axis=1, keepdims=True) - balance
    return np.nan_to_num(shares(observed - with_share @ taken, support))
