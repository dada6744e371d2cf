"""Formulas against the same thing computed image by image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_explain.discovery.gaps import ClassGaps
from vlm_explain.discovery.incidence import Incidence
from vlm_explain.discovery.influence import influential_regions
from vlm_explain.discovery.intervals import gap_intervals
from vlm_explain.discovery.judgement import judge_clusters
from vlm_explain.discovery.options import DiscoveryOptions, reference_options
from vlm_explain.discovery.pull import pulls
from vlm_explain.discovery.relations import class_ties, incidence_correlations
from vlm_explain.discovery.statistics import Answers, cluster_statistics
from vlm_explain.discovery.strategies.trove import static_bias
from vlm_explain.discovery.telling import findings


@pytest.fixture(scope="module")
def statistics():
    rng = np.random.default_rng(11)
    n, classes = 90, 4
    image_of = np.repeat(np.arange(n), rng.integers(0, 5, n))
    scores = rng.dirichlet(np.ones(classes), n)
    answers = Answers(rng.integers(0, classes, n), scores.argmax(axis=1), scores)
    k = len(image_of)
    return cluster_statistics(answers, image_of, 3 * rng.integers(0, 6, k), rng.dirichlet(np.ones(classes), k))


def test_pulls_are_differences_of_rates_averaged_over_classes(statistics):
    answers, dense = statistics.answers, statistics.incidence.dense
    for c in range(len(statistics.ids)):
        for said in range(4):
            total = weight = 0.0
            for label in set(range(4)) - {said}:
                own = answers.labels == label
                inside, outside = own & dense[:, c], own & ~dense[:, c]
                if inside.any() and outside.any():
                    rates = [(answers.predicted[part] == said).mean() for part in (inside, outside)]
                    balance = inside.sum() * outside.sum() / own.sum()
                    total, weight = total + balance * (rates[0] - rates[1]), weight + balance
            assert pulls(statistics)[c, said] == pytest.approx(total / weight if weight else 0.0)


def test_static_bias_is_the_mean_over_regions_of_wrong_images(statistics):
    found, answers = static_bias(statistics), statistics.answers
    for c, label in np.ndindex(found.shape):
        given_ = [
            statistics.region_scores[row, answers.predicted[image]]
            for row, image in enumerate(statistics.image_of)
            if statistics.position[row] == c and answers.labels[image] == label and answers.predicted[image] != label
        ]
        assert found[c, label] == pytest.approx(np.mean(given_) if given_ else np.nan, nan_ok=True)


def test_correlations_are_those_of_numpy(statistics):
    expected = np.corrcoef(statistics.incidence.dense.T.astype(float))
    np.testing.assert_allclose(incidence_correlations(statistics), expected, atol=1e-6)


def test_ties_are_cramers_v(statistics):
    labels, dense = statistics.answers.labels, statistics.incidence.dense
    for c, tie in enumerate(class_ties(statistics)):
        table = np.array([[np.sum((labels == label) & (dense[:, c] == side)) for side in (0, 1)] for label in range(4)])
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
        chi2 = ((table - expected) ** 2 / expected).sum()
        assert tie == pytest.approx(np.sqrt(chi2 / table.sum()))


def test_a_cluster_in_every_image_is_tied_and_correlated_to_nothing():
    answers = Answers(np.array([0, 1]), np.array([0, 0]), np.eye(2))
    found = cluster_statistics(answers, np.array([0, 1, 1]), np.array([0, 0, 1]), np.full((3, 2), 0.5))
    assert class_ties(found)[0] == 0 and incidence_correlations(found)[0].tolist() == [0, 0]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_influential_regions_are_the_first_of_the_highest(sizes, draws):
    image_of = np.repeat(np.arange(len(sizes)), sizes)
    scores = np.array([[draws.randint(0, 2) for _ in range(3)] for _ in sizes], dtype=float)
    regions = np.array([[draws.randint(0, 2) for _ in range(3)] for _ in image_of], dtype=float).reshape(-1, 3)
    for image, best in enumerate(influential_regions(scores, regions, image_of)):
        rows = np.flatnonzero(image_of == image)
        assert best == (rows[regions[rows, scores[image].argmax()].argmax()] if len(rows) else -1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30))
def test_counts_are_those_of_the_dense_table(pairs):
    image_of, cluster_of = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    found = Incidence.of(image_of, cluster_of, images=6, clusters=4)
    labels, which = np.array([0, 1, 2, 0, 1, 2]), np.array([True, False] * 3)
    one_hot = np.eye(3)[labels]
    np.testing.assert_array_equal(found.counts(labels, 3), found.dense.T @ one_hot)
    np.testing.assert_array_equal(found.counts(labels, 3, which), found.dense[which].T @ one_hot[which])


def test_intervals_hold_the_gap_and_cover_what_they_should():
    rng = np.random.default_rng(5)
    shape, truth = (4000, 1), (0.9, 0.7)
    sides = [np.full(shape, 40), np.full(shape, 60)]
    right = [rng.binomial(side, share) for side, share in zip(sides, truth, strict=True)]
    gaps = ClassGaps(*sides, *right)
    low, high = gap_intervals(gaps)
    assert ((low <= gaps.weighted) & (gaps.weighted <= high)).all()
    real = 0.8 * (truth[0] - truth[1])
    assert 0.94 <= ((low <= real) & (real <= high)).mean() <= 0.98
    empty = ClassGaps(*(np.array([[value]]) for value in (0, 5, 0, 5)))
    assert np.isnan(gap_intervals(empty)).all()


def complementary(n=1200):
    """Images with the feature (cluster 1) or else with another background (cluster 2), and the class (10 to 12)."""
    rng = np.random.default_rng(2)
    labels, feature = np.arange(n) % 3, rng.random(n) < 0.5
    right = 0.9 - 0.5 * ((labels == 2) & ~feature) - 0.3 * ((labels != 2) & feature)
    predicted = np.where(rng.random(n) < right, labels, np.where(labels == 2, rng.integers(0, 2, n), 2))
    clusters = np.stack([np.where(feature, 1, 2), 10 + labels], axis=1).ravel()
    region_scores = np.full((2 * n, 3), 1 / 3)
    region_scores[clusters == 1] = [0.1, 0.1, 0.8]
    region_scores[clusters == 2] = [0.45, 0.45, 0.1]
    answers = Answers(labels, predicted, np.eye(3)[predicted])
    return cluster_statistics(answers, np.repeat(np.arange(n), 2), clusters, region_scores)


def test_presence_ranks_before_absence_and_the_reference_cannot_tell_them_apart():
    statistics = complementary()
    judgement = judge_clusters(statistics, DiscoveryOptions(permutations=100))
    assert statistics.ids[judgement.order].tolist() == [1, 2]
    assert judgement.absence[judgement.order].tolist() == [False, True]
    reference = judge_clusters(statistics, reference_options())
    assert np.ptp(reference.scores[:2]) == pytest.approx(0, abs=1e-12)  # gaps enter by absolute value


def test_clusters_that_follow_the_class_do_not_count():
    judgement = judge_clusters(complementary(), DiscoveryOptions(permutations=100, strategy="weighted-gap"))
    assert (judgement.ties[2:] == pytest.approx(1)) and not judgement.passed["class-tie"][2:].any()
    assert np.isnan(judgement.p_values[2:]).all()


def test_the_complement_is_told_with_the_class_that_needs_the_feature():
    statistics = complementary()
    options = DiscoveryOptions(permutations=100)
    first = np.array([np.flatnonzero(statistics.position == c)[0] for c in range(len(statistics.ids))])
    embeddings = np.eye(len(first))[statistics.position]
    found = findings(statistics, judge_clusters(statistics, options), first, embeddings, ("a", "b", "c"), options)
    feature, absence = found[:2]
    assert (feature.cluster, feature.attribute, feature.is_absence, feature.complement) == (1, "c", False, None)
    assert (absence.cluster, absence.attribute, absence.is_absence, absence.complement) == (2, "c", True, 1)
    assert feature.pull > 0 > absence.pull


def test_the_class_is_the_one_that_answers_are_drawn_to_not_a_bystander_with_a_larger_gap():
    n = 400
    labels, feature = np.arange(n) % 4, np.arange(n) % 8 < 4
    predicted = labels.copy()
    predicted[(labels == 0) & feature] = 3  # drawn to class 3
    predicted[np.flatnonzero((labels == 3) & ~feature)[:2]] = 2  # which loses a little without the feature
    predicted[np.flatnonzero((labels == 1) & ~feature)[:9]] = 2  # a bystander that loses more, but draws nothing
    clusters = np.stack([np.where(feature, 1, 2), np.full(n, 3)], axis=1).ravel()
    answers = Answers(labels, predicted, np.eye(4)[predicted])
    statistics = cluster_statistics(answers, np.repeat(np.arange(n), 2), clusters, np.full((2 * n, 4), 0.25))
    judgement = judge_clusters(statistics, reference_options())
    assert statistics.gaps.weighted[0].argmax() == 1
    found = findings(
        statistics, judgement, np.arange(3), np.eye(3)[statistics.position], tuple("abcd"), reference_options()
    )
    assert {one.cluster: one.attribute for one in found}[1] == "d"
