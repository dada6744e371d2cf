"""Silhouettes, against scikit-learn and against each other."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from vlm_explain.discovery.clustering.centres import cluster_sums
from vlm_explain.discovery.clustering.points import Points
from vlm_explain.discovery.clustering.silhouette import (
    closed_form_silhouettes,
    sampled_silhouettes,
    silhouettes,
)


def unit_rows(count, width=8, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("clipped", [True, False])
def test_exact_silhouettes_are_those_of_scikit_learn(clipped):
    distances = Points(unit_rows(60), clipped).distances
    labels = np.random.default_rng(1).integers(3, 9, 60)
    labels[0] = 20  # a cluster of one, and numbers with holes
    ours = silhouettes(distances, labels)
    assert ours == pytest.approx(silhouette_samples(distances, labels, metric="precomputed"), abs=1e-12)
    assert ours[0] == 0


def test_the_closed_form_is_exact_for_unclipped_distances_however_many_chunks():
    embeddings = unit_rows(4500, width=4)
    labels = np.random.default_rng(1).integers(0, 5, 4500)
    labels[-1] = 7
    exact = silhouettes(Points(embeddings, clipped=False).distances, labels)
    assert closed_form_silhouettes(embeddings, labels) == pytest.approx(exact, abs=1e-10)


def test_a_sample_of_everything_is_exact_and_a_small_one_is_near():
    points = Points(unit_rows(2000))
    labels = np.argmax(points.embeddings[:, :4], axis=1)
    exact = silhouettes(points.distances, labels).mean()
    assert sampled_silhouettes(points, labels, size=5000, seed=0).mean() == pytest.approx(exact, abs=1e-12)
    small = sampled_silhouettes(points, labels, size=500, seed=0)
    assert len(small) == 500 and small.mean() == pytest.approx(exact, abs=0.02)
    assert not np.array_equal(small, sampled_silhouettes(points, labels, size=500, seed=1))


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_one_cluster_or_only_single_points_have_no_silhouette(labels):
    points = Points(unit_rows(3))
    assert silhouettes(points.distances, np.array(labels)).tolist() == [0, 0, 0]
    assert closed_form_silhouettes(points.embeddings, np.array(labels)).tolist() == [0, 0, 0]


def test_doubles_that_were_parted_have_the_silhouette_zero():
    points = Points(np.repeat(np.eye(2)[:1], 4, axis=0))
    assert silhouettes(points.distances, np.array([0, 0, 1, 1])).tolist() == [0, 0, 0, 0]


def test_sums_of_clusters_are_those_of_a_loop():
    embeddings = unit_rows(10_000)
    labels = np.random.default_rng(2).integers(0, 6, 10_000)
    labels[labels == 3] = 5
    expected = np.stack([embeddings[labels == cluster].sum(axis=0) for cluster in range(7)])
    assert cluster_sums(embeddings, labels, 7) == pytest.approx(expected, abs=1e-9)
