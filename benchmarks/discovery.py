"""What discovery costs: stage 1 of RaVL against plain loops, then clustering up to a million regions.

    python benchmarks/discovery.py [--sizes 2000 10000] [--rounds 5] [--without-clustering]

Stage 1: from clusters and answers to the filtered, ranked list. The plain side follows the loops that were published
with RaVL, written here from their description: image by image, whether it is in the list of a cluster's images is
looked up in that list, the scores of regions are dictionaries, filled number by number from tensors. Both sides get the
same clusters and must return the same list. Processor time of one thread: others may be running. Part 2, clustering, is
`benchmarks/clustering.py`.
"""

import argparse
import statistics
import time

import clustering
import numpy as np
import torch
from torch import Tensor

from vlm_explain.discovery.options import reference_options
from vlm_explain.discovery.statistics import Answers, cluster_statistics
from vlm_explain.discovery.strategies import ravl

CLASSES, CLUSTERS, REGIONS = 10, 30, 4
TARGET = 500.0
"""So many times faster at 10,000 images."""


def drawn(images: int) -> tuple[Answers, np.ndarray, np.ndarray]:
    """Return answers, clusters and region scores: cluster 0 draws half of its images to class 9."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, images)
    clusters = rng.integers(0, CLUSTERS, (images, REGIONS))
    holds = (clusters == 0).any(axis=1)
    random = np.where(rng.random(images) < 0.9, labels, rng.integers(0, CLASSES, images))
    predicted = np.where(holds & (rng.random(images) < 0.5), CLASSES - 1, random)
    scores = rng.dirichlet(np.ones(CLASSES), images) * 0.1
    scores[np.arange(images), predicted] += 0.9
    region_scores = rng.dirichlet(np.ones(CLASSES), images * REGIONS)
    region_scores[clusters.ravel() == 0] = np.eye(CLASSES)[-1]
    return Answers(labels, predicted, scores), clusters.ravel(), region_scores


def ours(answers: Answers, clusters: np.ndarray, region_scores: np.ndarray) -> list[int]:
    """Return the ids of the clusters that pass, best first."""
    image_of = np.repeat(np.arange(len(answers.labels)), REGIONS)
    found = cluster_statistics(answers, image_of, clusters, region_scores)
    scores, passes = ravl.score(found, reference_options())
    order = np.lexsort((found.ids, -scores))
    return found.ids[order[passes[order]]].tolist()


def plain(answers: Answers, clusters: np.ndarray, region_scores: np.ndarray) -> list[int]:
    """Return the same, loop by loop."""
    labels, predicted = answers.labels.tolist(), answers.predicted.tolist()
    scores, of_regions = torch.from_numpy(answers.scores), torch.from_numpy(region_scores)
    passing: list[tuple[float, int]] = []
    for cluster in np.unique(clusters).tolist():
        members = np.flatnonzero(clusters == cluster)
        holding = [int(region) // REGIONS for region in members]
        gaps = plain_gaps(holding, labels, predicted)
        influence = plain_influence(members, holding, gaps, labels, predicted, scores, of_regions)
        if influence >= 0.25 and any(gap > 0 for gap in gaps.values()) and any(gap < 0 for gap in gaps.values()):
            passing.append((sum(abs(gap) for gap in gaps.values()), cluster))
    return [cluster for _, cluster in sorted(passing, key=lambda pair: (-pair[0], pair[1]))]


def plain_gaps(holding: list[int], labels: list[int], predicted: list[int]) -> dict[int, float]:
    """Return the weighted gap of every class that has images on both sides."""
    gaps: dict[int, float] = {}
    for label in sorted({labels[image] for image in holding}):
        inside = [image for image in sorted(set(holding)) if labels[image] == label]
        outside = [image for image in range(len(labels)) if labels[image] == label and image not in holding]
        if not inside or not outside:
            continue
        accuracy = [sum(predicted[i] == label for i in side) / len(side) for side in (inside, outside)]
        weight = 2 * min(len(inside), len(outside)) / (len(inside) + len(outside))
        gaps[label] = weight * (accuracy[0] - accuracy[1])
    return gaps


def plain_influence(
    members: np.ndarray,
    holding: list[int],
    gaps: dict[int, float],
    labels: list[int],
    predicted: list[int],
    scores: Tensor,
    of_regions: Tensor,
) -> float:
    """Return the largest share of errors, over classes that lose, whose strongest region is in the cluster."""
    spoken: dict[int, list[bool]] = {}
    for image in range(len(labels)):
        label = labels[image]
        if image not in holding or predicted[image] == label or gaps.get(label, 0.0) >= 0:
            continue
        said = int(scores[image].argmax())
        strength: dict[int, float] = {}
        for region in range(REGIONS * image, REGIONS * (image + 1)):
            strength[region] = float(of_regions[region, said])
        strongest = max(strength, key=lambda region: strength[region])
        spoken.setdefault(label, []).append(strongest in members)
    return max((sum(found) / len(found) for found in spoken.values()), default=float("-inf"))


def compared(images: int, rounds: int) -> float:
    """Run both sides, print what they took, and return the ratio."""
    data = drawn(images)
    start = time.process_time()
    expected = plain(*data)
    slow = time.process_time() - start
    times = []
    for _ in range(rounds):
        start = time.process_time()
        found = ours(*data)
        times.append(time.process_time() - start)
        assert found == expected, f"the two ways disagree: {found} and {expected}"
    assert expected[:1] == [0], "the planted cluster is not the first"
    fast = statistics.median(times)
    print(
        f"{images} images x {REGIONS} regions, {CLUSTERS} clusters: plain {slow:.2f} s, ours {1000 * fast:.2f} ms, "
        f"ratio {slow / fast:.0f} ({len(expected)} clusters pass, the same)",
        flush=True,
    )
    return slow / fast


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-clustering", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ratios = {images: compared(images, options.rounds) for images in options.sizes}
    if 10_000 in ratios:
        print(f"target: at least {TARGET:g} times at 10000 images: {'met' if ratios[10_000] >= TARGET else 'MISSED'}")
    if not options.without_clustering:
        clustering.show(list(clustering.SIZES))


if __name__ == "__main__":
    main()
