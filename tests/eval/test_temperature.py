from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_data.errors import CallError, VlmDataError
from vlm_eval.metrics import temperature as module
from vlm_eval.metrics.calibration import (
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    softmax,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "calibration"


def sampled(samples, classes, true_temperature, seed=0):
    """Logits whose softmax at `true_temperature` is the distribution the labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = 4 * rng.normal(size=(samples, classes))
    cumulative = softmax(logits / true_temperature).cumsum(axis=1)
    return logits, np.minimum((rng.random((samples, 1)) > cumulative).sum(axis=1), classes - 1)


def test_published_temperature():
    golden = np.load(GOLDEN / "definitions.npz")
    temperature = fit_temperature(golden["logits"], golden["labels"])
    assert temperature == pytest.approx(float(golden["best_temperature"]), abs=1e-5)
    scaled = apply_temperature(golden["logits"], temperature)
    assert negative_log_likelihood(scaled, golden["labels"]) == pytest.approx(float(golden["nll_at_best"]), abs=1e-9)


@pytest.mark.parametrize("planted", [0.02, 0.3, 1.0, 2.5, 20.0])
def test_the_planted_temperature_is_recovered_and_calibrates(planted):
    logits, labels = sampled(40_000, 5, planted)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(planted, rel=0.1)
    assert expected_calibration_error(softmax(apply_temperature(logits, temperature)), labels) < 0.02


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5.0), st.floats(0.1, 10.0))
def test_scaling_the_logits_scales_the_temperature(seed, planted, factor):
    logits, labels = sampled(60, 3, planted, seed)
    temperature = fit_temperature(logits, labels)
    if temperature not in module.BOUNDS:
        assert fit_temperature(factor * logits, labels) == pytest.approx(factor * temperature, rel=1e-6)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_no_other_temperature_is_better(seed):
    logits, labels = sampled(40, 4, 1.5, seed)
    best = fit_temperature(logits, labels)
    lowest = negative_log_likelihood(apply_temperature(logits, best), labels)
    for other in (best * 0.99, best * 1.01, 1.0):
        assert negative_log_likelihood(apply_temperature(logits, other), labels) >= lowest - 1e-12


def test_where_there_is_no_minimum_the_bound_is_returned():
    logits = np.array([[5.0, 0.0], [0.0, 3.0]])
    assert fit_temperature(logits, np.array([0, 1])) == module.BOUNDS[0]  # all right: the sharper the better
    assert fit_temperature(logits, np.array([1, 0])) == module.BOUNDS[1]  # all wrong: the flatter the better
    assert fit_temperature(logits, np.array([0, 1]), bounds=(0.5, 4.0)) == 0.5
    assert fit_temperature(logits, np.array([1, 0]), bounds=(2.0, 4.0)) == 4.0


def test_constant_logits_fit_every_temperature():
    assert fit_temperature(np.zeros((3, 4)), np.array([0, 1, 2])) == 1.0


def test_bounds_that_leave_out_one():
    logits, labels = sampled(2000, 3, 6.0)
    inside = fit_temperature(logits, labels)
    assert fit_temperature(logits, labels, bounds=(4.0, 9.0)) == pytest.approx(inside, rel=1e-9)
    assert fit_temperature(logits, labels, bounds=(0.5, 2.0)) == 2.0


def test_masked_classes_and_half_precision():
    logits, labels = sampled(500, 3, 2.0)
    plain = fit_temperature(logits, labels)
    masked = np.concatenate([logits, np.full((500, 1), -np.inf)], axis=1)
    assert fit_temperature(masked, labels) == pytest.approx(plain, rel=1e-9)
    assert fit_temperature(logits.astype(np.float16), labels) == pytest.approx(plain, rel=1e-2)


def test_large_tables_are_cut_into_blocks_without_changing_the_answer():
    logits, labels = sampled(50_000, 90, 1.7)  # more entries than one block holds
    assert fit_temperature(logits, labels) == pytest.approx(1.7, rel=0.02)


def test_wrong_calls():
    with pytest.raises(VlmDataError, match="nothing to score"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=int))
    with pytest.raises(VlmDataError, match="true class 0 of row 0 has logit -inf"):
        fit_temperature(np.array([[-np.inf, 1.0]]), np.array([0]))
    for bounds in ((0.0, 1.0), (2.0, 1.0)):
        with pytest.raises(CallError, match="no interval of temperatures"):
            fit_temperature(np.ones((1, 2)), np.array([0]), bounds=bounds)
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(CallError, match="expected a positive finite number"):
            apply_temperature(np.ones((1, 2)), temperature)
