"""Eager swaps: the optimum of brute force on few points, never worse than a swap away."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from vlm_explain.discovery.clustering.assignment import nearest_medoid
from vlm_explain.discovery.clustering.methods import alternate, swap
from vlm_explain.discovery.clustering.points import Points

GOLDEN = Path(__file__).parents[3] / "golden" / "ravl_discovery"


def random_points(count, seed, width=4):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return Points(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def optimum(distances, count):
    """The smallest sum over all choices of medoids."""
    choices = np.array(list(combinations(range(len(distances)), count)))
    return distances[choices].min(axis=1).sum(axis=1).min()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_best_of_ten_seeds_is_the_optimum_of_brute_force_and_none_is_below(count):
    for problem in range(12):
        points = random_points(11, problem)
        best = optimum(points.distances, count)
        found = [swap.fit(points, count, seed=seed).inertia for seed in range(10)]
        assert min(found) == pytest.approx(best, abs=1e-12)
        turns = [alternate.fit(points, count, seed=seed).inertia for seed in range(10)]
        assert min(turns) >= best - 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_exchange_of_one_medoid_is_better(dtype):
    distances = Points(random_points(60, 0).embeddings.astype(dtype)).distances
    clustering = swap.fit(Points(random_points(60, 0).embeddings.astype(dtype)), 5, seed=0)
    for position in range(5):
        for candidate in range(60):
            medoids = clustering.medoids.copy()
            medoids[position] = candidate
            assert nearest_medoid(distances, medoids).inertia >= clustering.inertia * (1 - 1e-6)


@pytest.mark.parametrize("file", ["kmedoids_n150", "kmedoids_noisy_n90"])
def test_from_the_golden_starts_swaps_end_no_worse_than_turns(file):
    with np.load(GOLDEN / f"{file}.npz") as golden:
        distances = Points(golden["reg_emb"]).distances
        for count in golden["candidate_k"]:
            start = golden[f"init_medoids_k{count}"]
            clustering = swap.from_start(distances, start)
            assert clustering.inertia <= golden[f"out_inertia_k{count}"] + 1e-9
            assert start.tolist() == golden[f"init_medoids_k{count}"].tolist()


def test_doubles_among_the_first_medoids_are_exchanged():
    points = Points(np.repeat(np.eye(3), 4, axis=0))
    assert swap.from_start(points.distances, np.array([0, 1, 2])).inertia == 0
