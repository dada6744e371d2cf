"""k-medoids by turns, against the vectors made with the package that the program published with RaVL uses."""

from pathlib import Path

import numpy as np
import pytest

from vlm_explain.discovery.clustering import cluster
from vlm_explain.discovery.clustering.methods import alternate
from vlm_explain.discovery.clustering.points import Points
from vlm_explain.discovery.clustering.seeding import greedy_start
from vlm_explain.discovery.clustering.silhouette import silhouettes

GOLDEN = Path(__file__).parents[3] / "golden" / "ravl_discovery"
FILES = ("kmedoids_n150", "kmedoids_noisy_n90")


@pytest.fixture(params=FILES)
def golden(request):
    with np.load(GOLDEN / f"{request.param}.npz") as arrays:
        return dict(arrays)


def test_from_the_given_starts_the_clusters_are_the_golden_ones(golden):
    distances = Points(golden["reg_emb"]).distances
    for position, count in enumerate(golden["candidate_k"]):
        clustering = alternate.from_start(distances, golden[f"init_medoids_k{count}"])
        assert clustering.medoids.tolist() == golden[f"out_medoids_k{count}"].tolist()
        assert clustering.labels.tolist() == golden[f"out_labels_k{count}"].tolist()
        assert clustering.inertia == pytest.approx(golden[f"out_inertia_k{count}"], abs=1e-9)
        score = silhouettes(distances, clustering.labels).mean()
        assert score == pytest.approx(golden["out_silhouette"][position], abs=1e-9)


def test_seed_zero_draws_the_starts_of_the_published_program(golden):
    distances = Points(golden["reg_emb"]).distances
    for count in golden["candidate_k"].tolist():
        start = greedy_start(distances.__getitem__, len(distances), count, seed=0)
        assert start.tolist() == golden[f"init_medoids_k{count}"].tolist()


def test_the_number_of_clusters_is_the_golden_one(golden):
    choice = cluster(golden["reg_emb"], candidates=golden["candidate_k"].tolist())
    best = int(golden["out_best_k"])
    assert choice.count == best and choice.method == "alternate" and choice.silhouette == "exact"
    assert choice.scores == pytest.approx(golden["out_silhouette"], abs=1e-9)
    assert choice.clustering.labels.tolist() == golden[f"out_labels_k{best}"].tolist()


def test_single_precision_finds_the_same_clusters(golden):
    best = int(golden["out_best_k"])
    choice = cluster(golden["reg_emb"].astype(np.float32), candidates=[best])
    assert choice.clustering.labels.tolist() == golden[f"out_labels_k{best}"].tolist()


def test_a_medoid_without_points_stays_where_it_is():
    distances = Points(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).distances
    clustering = alternate.from_start(distances, np.array([0, 1, 2]))
    assert clustering.medoids.tolist() == [0, 1, 2] and clustering.labels.tolist() == [0, 0, 2]


def test_a_given_start_is_not_overwritten(golden):
    start = golden["init_medoids_k5"]
    before = start.copy()
    alternate.from_start(Points(golden["reg_emb"]).distances, start)
    assert start.tolist() == before.tolist()
