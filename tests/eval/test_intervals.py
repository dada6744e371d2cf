import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from vlm_data.errors import CallError, VlmDataError
from vlm_eval.intervals import Outcomes, bootstrap, clopper_pearson, joint_bootstrap
from vlm_eval.metrics.calibration import expected_calibration_error


def outcomes(samples, seed=0, overconfident=1.0):
    rng = np.random.default_rng(seed)
    confidences = rng.uniform(0.5, 1.0, samples)
    return confidences, rng.random(samples) < confidences**overconfident


def table(confidences, correct):
    return np.stack([confidences, 1 - confidences], axis=1), np.where(correct, 0, 1)


# --- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_exact_interval_agrees_with_scipy(level):
    for successes, trials in [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (599, 600), (31_415, 50_000)]:
        expected = binomtest(successes, trials).proportion_ci(level, method="exact")
        assert clopper_pearson(successes, trials, level) == pytest.approx((expected.low, expected.high), abs=1e-10)


def test_ends_are_exactly_zero_and_one():
    assert clopper_pearson(0, 5)[0] == 0.0 and clopper_pearson(5, 5)[1] == 1.0


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0.01, 0.99), st.sampled_from([0.5, 0.9, 0.95]))
def test_exact_interval_covers_at_least_as_often_as_it_says(trials, rate, level):
    hits = [low <= rate <= high for low, high in (clopper_pearson(k, trials, level) for k in range(trials + 1))]
    assert (binom.pmf(np.arange(trials + 1), trials, rate) * hits).sum() >= level - 1e-9


def test_impossible_counts():
    for successes, trials in [(0, 0), (3, 2), (-1, 2)]:
        with pytest.raises(CallError, match=f"{successes} successes in {trials} trials are not possible"):
            clopper_pearson(successes, trials)
    with pytest.raises(CallError, match=r"level of an interval is 95\.0; expected a fraction between 0 and 1"):
        clopper_pearson(1, 2, 95.0)


# --- bootstrap --------------------------------------------------------------------------------------------------------


def test_resamples_have_the_distribution_of_all_possible_ones():
    # Three samples: all 27 resamples can be listed.
    confidences, correct = np.array([0.6, 0.7, 0.95]), np.array([True, False, True])
    listed = np.array(list(itertools.product(range(3), repeat=3)))
    exact = [expected_calibration_error(*table(confidences[rows], correct[rows])) for rows in listed]
    drawn = bootstrap(confidences, correct, resamples=20_000).ece
    values, counts = np.unique(np.round(exact, 9), return_counts=True)
    shares = [(np.abs(drawn - value) < 1e-8).mean() for value in values]
    np.testing.assert_allclose(shares, counts / 27, atol=0.015)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000), st.integers(1, 20), st.sampled_from(["left", "right"]))
def test_observed_scores_are_those_of_the_metrics(samples, seed, bins, closed):
    confidences, correct = outcomes(samples, seed)
    observed = bootstrap(confidences, correct, resamples=1, bins=bins, closed=closed).observed
    assert observed["accuracy"] == pytest.approx(correct.mean())
    expected = expected_calibration_error(*table(confidences, correct), bins=bins, closed=closed)
    assert observed["ece"] == pytest.approx(expected)


def test_blocks_do_not_change_the_resamples_and_the_seed_does():
    # 3,000 images: 1,000 resamples need two blocks of drawn indices, 100 only one.
    confidences, correct = outcomes(3000)
    many, few = bootstrap(confidences, correct, resamples=1000), bootstrap(confidences, correct, resamples=100)
    np.testing.assert_array_equal(many.ece[:100], few.ece)
    again, other = (bootstrap(confidences, correct, resamples=100, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.ece, few.ece)
    assert (other.ece != few.ece).any()


def test_the_global_generator_is_left_alone():
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    bootstrap(*outcomes(50), resamples=10)
    assert np.random.random() == expected


def test_intervals_cover_a_large_miscalibration():
    population = outcomes(400_000, overconfident=4.0)
    truth = expected_calibration_error(*table(*population))
    rng = np.random.default_rng(5)
    hits = {"percentile": 0, "basic": 0}
    for _ in range(60):
        rows = rng.integers(0, 400_000, 500)
        resampled = bootstrap(population[0][rows], population[1][rows], resamples=300)
        for method in hits:
            low, high = resampled.interval("ece", method=method)
            hits[method] += low <= truth <= high
    assert min(hits.values()) >= 52  # 57 of 60 expected


def test_percentile_interval_is_biased_upwards_where_the_basic_one_is_not():
    population = outcomes(400_000, overconfident=1.3)
    truth = expected_calibration_error(*table(*population))
    rng = np.random.default_rng(5)
    ends = []
    for _ in range(40):
        rows = rng.integers(0, 400_000, 300)
        resampled = bootstrap(population[0][rows], population[1][rows], resamples=200)
        ends.append([np.mean(resampled.interval("ece", method=method)) - truth for method in ("percentile", "basic")])
    percentile, basic = np.mean(ends, axis=0)
    assert percentile > 0.01 and abs(basic) < percentile / 2


def test_one_sample_has_no_spread():
    one = bootstrap(np.array([0.75]), np.array([False]))
    assert one.interval("ece") == (0.75, 0.75) and one.interval("accuracy") == (0.0, 0.0)


# --- joint ------------------------------------------------------------------------------------------------------------


def severities(samples=400):
    """Three severities at which the same images fail."""
    rng = np.random.default_rng(2)
    ids = tuple(f"image-{row}" for row in range(samples))
    hard, confidences = rng.random(samples), rng.uniform(0.4, 1.0, samples)
    return [Outcomes(ids, confidences, hard < threshold) for threshold in (0.8, 0.7, 0.6)]


def test_order_within_a_severity_does_not_matter():
    members = severities()
    order = np.random.default_rng(0).permutation(400)
    moved = Outcomes(
        tuple(members[1].ids[row] for row in order), members[1].confidences[order], members[1].correct[order]
    )
    straight, shuffled = joint_bootstrap(members), joint_bootstrap([members[0], moved, members[2]])
    np.testing.assert_allclose(straight.ece, shuffled.ece, atol=1e-12)
    np.testing.assert_array_equal(straight.accuracy, shuffled.accuracy)


def test_joint_resamples_take_the_same_images_at_every_severity():
    members = severities()
    joint = joint_bootstrap(members)
    single = [bootstrap(member.confidences, member.correct) for member in members]  # same seed: same images
    np.testing.assert_allclose(joint.accuracy, np.mean([one.accuracy for one in single], axis=0), atol=1e-12)
    np.testing.assert_allclose(joint.ece, np.mean([one.ece for one in single], axis=0), atol=1e-12)
    apart = np.mean([bootstrap(m.confidences, m.correct, seed=seed).accuracy for seed, m in enumerate(members)], axis=0)
    assert joint.accuracy.std() > 1.3 * apart.std()  # independent resamples would claim too much


def test_an_image_missing_at_one_severity_counts_at_the_others():
    full, short = severities()[:2]
    short = Outcomes(short.ids[:-100], short.confidences[:-100], short.correct[:-100])
    joint = joint_bootstrap([full, short])
    expected = (full.correct.mean() + short.correct.mean()) / 2
    assert joint.observed["accuracy"] == pytest.approx(expected)
    low, high = joint.interval("accuracy")
    assert low < expected < high and len(joint.accuracy) == 1000


def test_resamples_without_any_image_of_a_severity_are_dropped():
    many = Outcomes(("a", "b", "c"), np.full(3, 0.75), np.array([True, True, False]))
    rare = Outcomes(("c",), np.array([0.75]), np.array([True]))
    joint = joint_bootstrap([many, rare])
    assert 600 < len(joint.ece) < 800  # (2/3)^3 = 0.30 of the resamples lack image c
    assert np.isfinite(joint.ece).all()


def test_nothing_to_resample():
    empty = Outcomes((), np.zeros(0), np.zeros(0, dtype=bool))
    for members in ([], [empty], [*severities(), empty]):
        with pytest.raises(VlmDataError, match="no labelled sample to resample"):
            joint_bootstrap(members)
    with pytest.raises(CallError, match="number of bootstrap resamples is 0"):
        bootstrap(*outcomes(3), resamples=0)
    with pytest.raises(CallError, match=r"unknown interval method 'basik'\. Did you mean 'basic'\?"):
        bootstrap(*outcomes(3), resamples=5).interval("ece", method="basik")


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000))
def test_intervals_hold_their_order_and_range(samples, seed):
    resampled = bootstrap(*outcomes(samples, seed), resamples=50, seed=seed)
    for metric, method in itertools.product(("accuracy", "ece"), ("percentile", "basic")):
        wide, narrow = (resampled.interval(metric, level, method) for level in (0.99, 0.5))
        assert 0 <= wide[0] <= narrow[0] <= narrow[1] <= wide[1] <= 1
