import numpy as np
import pytest

from vlm_eval.comparing.changes import basic_change, change, group_bootstrap
from vlm_eval.intervals import Outcomes


def answers(correct, confidence=0.7):
    correct = np.asarray(correct)
    ids = tuple(f"image-{row}" for row in range(len(correct)))
    return Outcomes(ids, np.full(len(correct), confidence), correct)


def noisy(seed, rate, n=300):
    return np.random.default_rng(seed).random(n) < rate


def test_the_difference_is_that_of_the_means_over_data_sets():
    before = group_bootstrap([[answers(noisy(0, 0.5))], [answers(noisy(1, 0.7))]])
    after = group_bootstrap([[answers(noisy(2, 0.8))], [answers(noisy(3, 0.9))]])
    found = change(before, after, "accuracy")
    expected = np.mean([noisy(2, 0.8).mean() - noisy(0, 0.5).mean(), noisy(3, 0.9).mean() - noisy(1, 0.7).mean()])
    assert found.difference == pytest.approx(expected)
    assert found.low < found.difference < found.high
    assert found.direction == "higher"


def test_pairing_makes_the_interval_shorter_than_independent_resamples():
    start = noisy(0, 0.6)
    better = start | noisy(1, 0.05)  # right wherever the first one is right, and a little more
    first, second = group_bootstrap([[answers(start)]]), group_bootstrap([[answers(better)]])
    unpaired = group_bootstrap([[answers(better)]], seed=1)
    paired, loose = change(first, second, "accuracy"), change(first, unpaired, "accuracy")
    assert paired.high - paired.low < (loose.high - loose.low) / 2
    assert paired.direction == "higher"


def test_equal_models_differ_by_nothing():
    one = group_bootstrap([[answers(noisy(0, 0.5))]])
    found = change(one, one, "ece")
    assert (found.difference, found.low, found.high, found.direction) == (0, 0, 0, "unclear")


def test_severities_count_as_one_data_set():
    mild, strong = answers([True] * 20), answers([False] * 20)
    natural = answers([True] * 20)
    assert group_bootstrap([[mild, strong], [natural]]).observed["accuracy"] == pytest.approx(0.75)


def test_an_empty_group_has_no_bootstrap():
    assert group_bootstrap([]) is None


@pytest.mark.parametrize(("before", "after"), [(0.775, 0.625), (0.625, 0.775), (0.7, 0.6), (0.3, 0.1)])
def test_an_interval_that_ends_at_zero_says_nothing(before, after):
    # the quantile as resampled counts give it: twice the change, but for rounding
    quantile = 2 * round(after - before, 3)
    found = basic_change(before, after, min(quantile, 0.0), max(quantile, 0.0))
    assert found.direction == "unclear"
    assert 0.0 in (found.low, found.high)


def test_a_small_change_is_not_taken_for_rounding():
    one_image_of_a_million = 1e-6
    found = basic_change(0.5, 0.5 - one_image_of_a_million, -one_image_of_a_million, -one_image_of_a_million)
    assert found.direction == "lower"
