"""Choosing the number of clusters, and what is done with rows that cannot be clustered."""

import numpy as np
import pytest

from vlm_data.errors import CallError
from vlm_explain.discovery.clustering import candidate_counts, cluster


def blobs(groups, each, width=16, seed=0):
    """Unit rows around `groups` random directions, those of a group next to each other."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(size=(groups, width)), each, axis=0) + 0.05 * rng.normal(size=(groups * each, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_the_planted_number_of_groups_is_found():
    choice = cluster(blobs(7, 30), candidates=range(2, 12))
    assert choice.count == 7 and choice.score > 0.8 and not choice.at_edge
    assert choice.candidates == tuple(range(2, 12)) and len(choice.scores) == 10
    assert len(np.unique(choice.clustering.labels.reshape(7, 30), axis=1).T) == 1


@pytest.mark.parametrize(("candidates", "edge"), [([7, 9, 11], True), ([3, 5, 7], True), ([3, 7, 9], False)])
def test_a_best_number_at_the_end_of_the_candidates_is_told(candidates, edge):
    choice = cluster(blobs(7, 30), candidates=candidates)
    assert choice.count == 7 and choice.at_edge is edge


def test_one_candidate_leaves_nothing_to_choose():
    choice = cluster(blobs(7, 30), candidates=[7])
    assert choice.count == 7 and not choice.at_edge


def test_points_without_clusters_still_get_the_best_of_the_candidates():
    choice = cluster(np.eye(12), candidates=[3, 5])
    assert choice.score <= 0 and len(choice.clustering.medoids) == choice.count


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([0], (1,)),
        ([0, 0, 0], (1,)),
        ([0, 1], (2,)),
        ([0, 0, 1, 1, 1], (2,)),
        ([0, 1, 2], (2,)),
        ([0, 0, 1, 2, 3], (3,)),
        ([0, 1, 2, 3, 4, 5, 5], (4, 5)),
    ],
)
def test_candidates_end_below_the_number_of_distinct_rows(rows, expected):
    choice = cluster(np.eye(6)[rows], candidates=[4, 5, 6, 7, 20])
    assert choice.candidates == expected
    clustering = choice.clustering
    assert len(clustering.medoids) == choice.count and set(clustering.labels) == set(range(choice.count))
    assert (clustering.labels[clustering.medoids] == np.arange(choice.count)).all()


@pytest.mark.parametrize(
    ("points", "method", "silhouette"),
    [
        (1000, "alternate", "exact"),
        (10_001, "spherical-k-means", "closed-form"),
        (100_001, "mini-batch", "closed-form"),
    ],
)
def test_auto_goes_by_the_number_of_points(points, method, silhouette):
    embeddings = np.zeros((points, 3), dtype=np.float32)
    embeddings[np.arange(points), np.arange(points) % 3] = 1
    choice = cluster(embeddings, candidates=[2])
    assert (choice.method, choice.silhouette, len(choice.clustering.medoids)) == (method, silhouette, 2)


def test_progress_is_told_per_candidate():
    told = []
    cluster(np.eye(6), candidates=[2, 3], progress=lambda *call: told.append(call))
    assert told == [("clustering, candidates", 1, 2), ("clustering, candidates", 2, 2)]


def test_doubles_share_a_cluster():
    labels = cluster(np.eye(6)[[0, 0, 1, 2, 3, 3]], candidates=[3]).clustering.labels
    assert labels[0] == labels[1] and labels[4] == labels[5]


@pytest.mark.parametrize(
    ("row", "length"), [([0.0, 0.0], "0"), ([np.nan, 1.0], "nan"), ([3.0, 4.0], "5"), ([np.inf, 0.0], "inf")]
)
def test_rows_without_direction_or_of_another_length_are_named(row, length):
    with pytest.raises(CallError, match=f"1 of 3 embeddings are not of length 1, the first is row 1 .* {length}. Exp"):
        cluster(np.array([[1.0, 0.0], row, [0.0, 1.0]]), candidates=[2])


@pytest.mark.parametrize("shape", [(0, 4), (4,)])
def test_no_regions_or_no_table_of_vectors_is_refused(shape):
    with pytest.raises(CallError, match=r"expected \(regions, width\) with one region at least"):
        cluster(np.zeros(shape), candidates=[2])


@pytest.mark.parametrize("candidates", [[], [0, 3], [-2]])
def test_candidates_that_are_no_numbers_of_clusters_are_refused(candidates):
    with pytest.raises(CallError, match="expected whole numbers from 1"):
        cluster(np.eye(3), candidates=candidates)


def test_unknown_names_offer_the_nearest():
    with pytest.raises(CallError, match=r"unknown clustering method 'alternat'\. Did you mean 'alternate'"):
        cluster(np.eye(3), candidates=[2], method="alternat")
    with pytest.raises(CallError, match=r"unknown silhouette 'sample'\. Did you mean 'sampled'"):
        cluster(np.eye(3), candidates=[2], silhouette="sample")


def test_distances_that_do_not_fit_are_refused_before_they_are_made():
    embeddings = np.zeros((40_000, 2), dtype=np.float32)
    embeddings[np.arange(40_000), np.arange(40_000) % 2] = 1
    embeddings[:5] = blobs(5, 1, width=2)
    with pytest.raises(CallError, match=r"the distances between 40000 regions take 6\.0 GiB"):
        cluster(embeddings, candidates=[3], method="alternate")


def test_candidates_follow_the_published_rule():
    assert candidate_counts(10) == tuple(range(20, 50))
    assert candidate_counts(1) == (2, 3, 4)
    assert len(candidate_counts(1000, most=8)) == 8 and candidate_counts(1000, most=8)[-1] == 4999
    with pytest.raises(CallError, match="0 classes"):
        candidate_counts(0)
    with pytest.raises(CallError, match="at most 0 candidates"):
        candidate_counts(3, most=0)
