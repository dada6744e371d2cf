"""What every clustering algorithm keeps, also those that are added later as one more file."""

import tracemalloc

import numpy as np
import pytest

from vlm_explain.discovery.clustering import METHODS, cluster
from vlm_explain.discovery.clustering.assignment import MethodInfo
from vlm_explain.discovery.clustering.methods import clara, mini_batch, spherical_k_means, swap
from vlm_explain.discovery.clustering.points import Points

EVERY = METHODS.names()


def unit_rows(count, width=8, seed=0, dtype=np.float32):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


def groups(count, each, width=16, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(size=(count, width)), each, axis=0) + 0.05 * rng.normal(size=(count * each, width))
    order = rng.permutation(count * each)
    rows, truth = rows[order], np.repeat(np.arange(count), each)[order]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def fitted(method, points, count, seed=0):
    return METHODS.load(method).fit(points, count, seed=seed)


def test_the_methods_are_the_files():
    assert {"alternate", "clara", "mini-batch", "spherical-k-means", "swap"} <= set(EVERY)


@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize("method", EVERY)
def test_a_clustering_is_whole(method, clipped):
    points = Points(unit_rows(300), clipped)
    clustering = fitted(method, points, 9)
    count = len(clustering.medoids)
    assert clustering.labels.shape == (300,) and set(clustering.labels.tolist()) == set(range(count)) and count <= 9
    assert clustering.labels.dtype == clustering.medoids.dtype == np.int64
    assert clustering.labels[clustering.medoids].tolist() == list(range(count))
    to_own = points.distances[np.arange(300), clustering.medoids[clustering.labels]]
    assert clustering.inertia == pytest.approx(to_own.sum(dtype=np.float64), rel=1e-5)


@pytest.mark.parametrize("method", EVERY)
def test_planted_groups_are_found_from_any_seed(method):
    embeddings, truth = groups(6, 40)
    for seed in range(3):
        labels = fitted(method, Points(embeddings), 6, seed).labels
        assert len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == 6


@pytest.mark.parametrize("method", EVERY)
def test_the_same_seed_gives_the_same_and_the_points_stay_as_they_are(method):
    embeddings = unit_rows(200)
    before = embeddings.copy()
    first, second = (fitted(method, Points(embeddings), 7, seed=3) for _ in range(2))
    assert np.array_equal(first.labels, second.labels) and np.array_equal(first.medoids, second.medoids)
    assert first.inertia == second.inertia and np.array_equal(embeddings, before)


@pytest.mark.parametrize("method", EVERY)
def test_one_cluster_holds_everything(method):
    clustering = fitted(method, Points(unit_rows(50, dtype=np.float64)), 1)
    assert set(clustering.labels.tolist()) == {0} and len(clustering.medoids) == 1


@pytest.mark.parametrize("method", EVERY)
def test_a_single_point_is_its_own_cluster(method):
    clustering = fitted(method, Points(np.eye(3)[:1]), 1)
    assert clustering.labels.tolist() == clustering.medoids.tolist() == [0] and clustering.inertia == 0


@pytest.mark.parametrize("method", EVERY)
def test_doubles_share_a_cluster(method):
    embeddings = np.repeat(unit_rows(6, dtype=np.float64), 5, axis=0)
    clustering = fitted(method, Points(embeddings), 6)
    assert (clustering.labels.reshape(6, 5) == clustering.labels[::5, None]).all()
    assert len(set(clustering.labels.tolist())) == 6 and clustering.inertia == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("method", EVERY)
def test_points_that_differ_in_the_last_bits_only_leave_no_empty_cluster(method):
    embeddings = np.zeros((20, 3), dtype=np.float32)
    embeddings[:, 0], embeddings[:, 1] = 1, np.arange(20) * 1e-9
    clustering = fitted(method, Points(embeddings), 4)
    assert set(clustering.labels.tolist()) == set(range(len(clustering.medoids)))


@pytest.mark.parametrize("method", [name for name in EVERY if not METHODS.load(name).INFO.needs_distances])
def test_memory_does_not_grow_with_the_square_of_the_points(method):
    embeddings = unit_rows(40_000)
    tracemalloc.start()
    choice = cluster(embeddings, candidates=(5, 8), method=method)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert choice.silhouette == "closed-form" and peak < 60e6  # all distances: 6400e6


@pytest.mark.parametrize("method", EVERY)
def test_all_distances_are_made_only_where_the_method_says_so(method):
    info = METHODS.load(method).INFO
    points = Points(unit_rows(2500))
    fitted(method, points, 3)
    assert isinstance(info, MethodInfo) and info.summary
    assert ("distances" in vars(points)) is info.needs_distances


@pytest.mark.parametrize("method", [clara, mini_batch, spherical_k_means])
def test_methods_without_distances_come_near_to_swaps_over_everything(method):
    embeddings = np.concatenate([groups(10, 400)[0], unit_rows(2000, 16)])
    points = Points(embeddings)
    best = swap.fit(points, 12, seed=0).inertia
    assert method.fit(points, 12, seed=0).inertia < 1.1 * best


def test_spherical_k_means_ends_where_centres_are_mean_directions():
    embeddings, _ = groups(5, 50)
    labels = spherical_k_means.fit(Points(embeddings), 5, seed=0).labels
    centres = np.stack([embeddings[labels == cluster].sum(axis=0) for cluster in range(5)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    assert np.array_equal((embeddings @ centres.T).argmax(axis=1), labels)


def test_of_all_points_clara_is_eager_swaps():
    points = Points(unit_rows(300))
    assert clara.fit(points, 8, seed=0).inertia == pytest.approx(swap.fit(points, 8, seed=0).inertia, rel=1e-6)


def test_more_distinct_points_than_a_sample_of_doubles_holds_leave_fewer_clusters():
    embeddings = np.zeros((30_000, 4), dtype=np.float32)
    embeddings[:, 0] = 1
    embeddings[:3] = np.eye(4)[1:]
    for method in (clara, mini_batch, spherical_k_means):
        clustering = method.fit(Points(embeddings), 4, seed=0)
        count = len(clustering.medoids)
        assert 1 <= count <= 4 and set(clustering.labels.tolist()) == set(range(count))
