import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from vlm_data.errors import CallError
from vlm_eval.metrics.correlation import correlation


def pairs(count=30, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=count)
    return first, first + noise * rng.normal(size=count)


def test_the_values_are_those_of_the_definitions():
    first, second = pairs()
    second[:4] = second[0]  # ties
    found = correlation(first, second)
    assert found.pearson == pytest.approx(pearsonr(first, second)[0])
    assert found.spearman == pytest.approx(spearmanr(first, second)[0])
    assert found.runs == 30 and found.undefined == ""


def test_intervals_hold_the_value_and_shrink_with_the_runs():
    few, many = correlation(*pairs(10)), correlation(*pairs(400))
    for found in (few, many):
        assert found.pearson_interval[0] < found.pearson < found.pearson_interval[1]
        assert found.spearman_interval[0] < found.spearman < found.spearman_interval[1]
    assert np.ptp(many.pearson_interval) < np.ptp(few.pearson_interval)
    # Fisher's z: 1.96 / sqrt(n - 3) on its scale
    expected = np.tanh(np.arctanh(many.pearson) + np.array([-1.96, 1.96]) / np.sqrt(397))
    np.testing.assert_allclose(many.pearson_interval, expected, atol=0.02)


def test_several_quantities_are_the_mean_of_their_z_scores():
    first, second = pairs(12)
    other = np.random.default_rng(5).normal(size=12) * 1000
    together = sum((row - row.mean()) / row.std() for row in (first, other)) / 2
    found = correlation(np.stack([first, other]), second)
    assert found.pearson == pytest.approx(pearsonr(together, second)[0])
    assert found.spearman == pytest.approx(spearmanr(together, second)[0])


def test_a_draw_belongs_to_its_seed():
    assert correlation(*pairs(), seed=1) == correlation(*pairs(), seed=1)
    assert correlation(*pairs(), seed=1).pearson_interval != correlation(*pairs(), seed=2).pearson_interval


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (np.arange(4.0), np.arange(4.0), "4 runs; expected at least 5"),
        (np.ones(6), np.arange(6.0), "the same for all runs"),
        (np.arange(6.0), np.ones(6), "the same for all runs"),
        (np.array([1, 2, 3, 4, np.inf]), np.arange(5.0), "infinite or undefined for a run"),
    ],
)
def test_what_is_undefined_says_why(first, second, reason):
    found = correlation(first, second)
    assert found.pearson is None and found.spearman_interval is None and reason in found.undefined


def test_one_run_apart_from_equal_ones_has_no_interval():
    found = correlation(np.array([0, 0, 0, 0, 0, 1.0]), np.array([0, 0, 0, 0, 0, 1.0]), seed=3)
    assert found.pearson == pytest.approx(1) and found.pearson_interval in (None, pytest.approx((1, 1)))


def test_values_of_other_runs_are_refused():
    with pytest.raises(CallError, match="6 and 5 values"):
        correlation(np.arange(6.0), np.arange(5.0))
