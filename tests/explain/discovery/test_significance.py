"""Level and power of the test, on clusters and answers drawn without a model."""

import itertools

import numpy as np
import pytest

from vlm_explain.discovery.judgement import judge_clusters
from vlm_explain.discovery.options import DiscoveryOptions
from vlm_explain.discovery.significance import gap_p_values
from vlm_explain.discovery.statistics import Answers, cluster_statistics

CLASSES, FEATURE = 5, 0


def drawn(seed, *, n=400, gain=0.0, loss=0.0):
    """Clusters of all sizes, some of them tied to classes, one shared by all; answers by class, and by the feature.

    Four regions per image: the feature or nothing; one that looks like the class, at times like another; background.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    feature = rng.random(n) < 0.5
    looks = np.where(rng.random(n) < 0.8, labels, rng.integers(0, CLASSES, n))
    background = rng.choice(8, size=(n, 2), p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])
    first = np.where(feature, FEATURE, 1 + background[:, 0])
    clusters = np.stack([first, 20 + looks, 1 + background[:, 0], 1 + background[:, 1]], axis=1)
    right = np.array([0.95, 0.9, 0.8, 0.7, 0.9])[labels]
    right = right - gain * ((labels == 4) & ~feature) - loss * ((labels != 4) & feature)
    predicted = np.where(rng.random(n) < right, labels, (labels + rng.integers(1, CLASSES, n)) % CLASSES)
    scores = 0.9 * np.eye(CLASSES)[predicted] + 0.02
    region_scores = rng.dirichlet(np.ones(CLASSES), 4 * n)
    region_scores[clusters.ravel() == FEATURE] = [0.01, 0.01, 0.01, 0.01, 0.96]
    return cluster_statistics(
        Answers(labels, predicted, scores), np.repeat(np.arange(n), 4), clusters.ravel(), region_scores
    )


def every(statistics):
    return np.ones(len(statistics.ids), dtype=bool)


def test_the_level_holds_over_all_clusters_where_answers_depend_on_none():
    sets, level = 400, 0.1
    smallest = [
        np.min(gap_p_values(found, every(found), permutations=99, seed=seed))
        for seed in range(sets)
        for found in [drawn(seed)]
    ]
    false = np.mean(np.array(smallest) <= level)
    # Expected 0.1: three standard errors up, and not so low that the test would be idle.
    assert 0.05 <= false <= level + 3 * np.sqrt(level * (1 - level) / sets)


def test_findings_without_a_tie_are_rarer_than_the_level():
    options = DiscoveryOptions(permutations=99)
    findings = [len(judge_clusters(drawn(seed), options).order) > 0 for seed in range(200)]
    assert np.mean(findings) <= options.level


def test_a_tie_of_thirty_and_fifteen_points_is_found_nearly_always():
    options = DiscoveryOptions(permutations=99)
    found = []
    for seed in range(100):
        statistics = drawn(seed, n=1000, gain=0.3, loss=0.15)
        order = judge_clusters(statistics, options).order
        found.append(len(order) > 0 and statistics.ids[order[0]] == FEATURE)
    assert np.mean(found) >= 0.95


def test_two_images_per_class_have_the_p_value_that_counting_gives():
    # One class of four images, two right; the cluster holds just these two. Of the six equally likely divisions two
    # give so large a gap.
    labels, predicted = np.zeros(4, dtype=np.int64), np.array([0, 0, 1, 1])
    scores = np.eye(2)[predicted]
    statistics = cluster_statistics(Answers(labels, predicted, scores), np.arange(4), np.array([5, 5, 7, 7]), scores)
    p_values = gap_p_values(statistics, every(statistics), permutations=20_000, seed=0)
    pairs = list(itertools.combinations(range(4), 2))
    expected = np.mean([pair in ((0, 1), (2, 3)) for pair in pairs])
    assert p_values == pytest.approx([expected, expected], abs=0.01)


def test_fewer_tested_clusters_have_smaller_p_values_and_others_none():
    statistics = drawn(3, gain=0.2, loss=0.05)
    only = statistics.ids == FEATURE
    few = gap_p_values(statistics, only, permutations=400, seed=1)
    many = gap_p_values(statistics, every(statistics), permutations=400, seed=1)
    assert few[only] <= many[only]
    assert np.isnan(few[~only]).all() and not np.isnan(many).any()


def test_p_values_come_from_the_seed():
    statistics = drawn(4, gain=0.1)
    one, same, other = (gap_p_values(statistics, every(statistics), permutations=50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_without_an_error_or_without_a_cluster_nothing_is_significant():
    statistics = drawn(5)
    right = Answers(statistics.answers.labels, statistics.answers.labels, statistics.answers.scores)
    clusters = statistics.ids[statistics.position]
    perfect = cluster_statistics(right, statistics.image_of, clusters, statistics.region_scores)
    assert (gap_p_values(perfect, every(perfect), permutations=20, seed=0) == 1).all()
    assert np.isnan(gap_p_values(perfect, ~every(perfect), permutations=20, seed=0)).all()
