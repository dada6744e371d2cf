"""Could gaps be chance? Permutations of the answers within each class, corrected for the number of clusters."""

import numpy as np
from jaxtyping import Bool, Float64

from vlm_explain.discovery.statistics import ClusterStatistics

_BLOCK = 1 << 24
"""Random numbers that are held at a time."""


def gap_p_values(
    statistics: ClusterStatistics, tested: Bool[np.ndarray, " C"], *, permutations: int, seed: int
) -> Float64[np.ndarray, " C"]:
    """Test for every cluster whether right answers depend on it within the classes.

    Null hypothesis: within each true class, whether an image is answered right has nothing to do with the clusters that
    it has regions in. Right and wrong are permuted among the images of each class, which leaves class sizes,
    accuracies and the overlap of clusters as they are. Gap scores are made comparable by mean and standard deviation
    over the permutations, the observed one among them; the largest over clusters corrects for their number (max-T of
    Westfall and Young 1993), so that with the null hypothesis true everywhere a finding at level a has at most
    probability a.

    Args:
        statistics: of the clusters.
        tested: which clusters are tested; the choice must not rest on the answers. The fewer, the less there is to
            correct for.
        permutations: number of random permutations.
        seed: of them.

    Returns:
        (C,) corrected p-values, from 1 / (permutations + 1) to 1, NaN where nothing was tested.
    """
    answers = statistics.answers
    p_values = np.full(len(statistics.ids), np.nan)
    scores = np.zeros((permutations + 1, int(tested.sum())))
    rng = np.random.default_rng(seed)
    members = statistics.incidence.dense[:, tested]
    for label in range(answers.classes):
        rows = np.flatnonzero(answers.labels == label)
        right = answers.correct[rows]
        if 0 < right.sum() < len(rows):
            scores += _permuted_gaps(members[rows], right, permutations, rng)
    mean, spread = scores.mean(axis=0), scores.std(axis=0)
    standard = np.divide(scores - mean, spread, out=np.zeros_like(scores), where=spread > 0)
    largest = standard.max(axis=1, initial=0.0)
    # Rounding must not make an equal score a smaller one.
    p_values[tested] = (largest[:, None] >= standard[0] - 1e-9).mean(axis=0)
    return p_values


def _permuted_gaps(
    members: np.ndarray, right: np.ndarray, permutations: int, rng: np.random.Generator
) -> Float64[np.ndarray, "draws C"]:
    """Return absolute weighted gaps of one class: observed first, then of each permutation."""
    n, total = len(right), int(right.sum())
    with_ = members.sum(axis=0, dtype=np.float64)
    without = n - with_
    both = (with_ > 0) & (without > 0)
    table = members.astype(np.float32)
    found = [right.astype(np.float32)[None] @ table]
    size = max(1, _BLOCK // n)
    for start in range(0, permutations, size):
        draws = rng.random((min(size, permutations - start), n))
        chosen = np.argpartition(draws, total - 1, axis=1)[:, :total]  # who is right
        marks = np.zeros(draws.shape, dtype=np.float32)
        np.put_along_axis(marks, chosen, 1, axis=1)
        found.append(marks @ table)  # whole numbers: exact
    right_with = np.concatenate(found).astype(np.float64)
    raw = np.zeros_like(right_with)
    np.divide(right_with, with_, out=raw, where=both)
    raw -= np.divide(total - right_with, without, out=np.zeros_like(raw), where=both)
    return np.abs(raw) * 2 * np.minimum(with_, without) / n
