import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import VlmDataError
from vlm_data.tables import Predictions
from vlm_eval.metrics.confidence import brier_calibration, brier_refinement, brier_remainder, overconfidence
from vlm_eval.metrics.reliability import reliability_table
from vlm_eval.rescaling import fitted_temperatures, rescaled
from vlm_eval.scores import Scoring, score, score_tables

CASES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(CASES)
def test_the_three_parts_are_the_squared_error(cases):
    p, y = (np.array(column) for column in zip(*cases, strict=True))
    parts = brier_calibration(p, y) + brier_refinement(p, y) + brier_remainder(p, y)
    assert parts == pytest.approx(np.square(p - y).mean(), abs=1e-12)
    assert brier_calibration(p, y) >= 0 and 0 <= brier_refinement(p, y) <= 0.25


def test_confidences_that_are_the_accuracy_of_their_bin():
    p, y = np.repeat([0.25, 0.75], 400), np.tile([True, False, False, False], 100)
    y = np.concatenate([y, ~y])
    assert brier_calibration(p, y) == 0 and brier_remainder(p, y) == 0
    assert brier_refinement(p, y) == pytest.approx(0.25 * 0.75)
    assert overconfidence(p, y) == 0


def test_order_within_a_bin_is_the_remainder():
    """Confidences 0.62 and 0.66 share a bin; the surer answer is the right one."""
    p, y = np.array([0.62, 0.66]), np.array([False, True])
    assert brier_remainder(p, y) == pytest.approx(-2 * ((0.12 * -0.5) + (0.16 * 0.5)) / 2)


def test_the_sign_tells_the_direction():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = overconfidence(p.max(axis=1), p.argmax(axis=1) == labels)
    assert found == pytest.approx(reliability_table(p, labels).overconfidence)
    assert found > 0, "noise is right by chance only"


@pytest.mark.parametrize("compute", [overconfidence, brier_calibration, brier_refinement, brier_remainder])
def test_nothing_to_measure(compute):
    with pytest.raises(VlmDataError, match="at least one sample"):
        compute(np.array([]), np.array([], dtype=bool))
    with pytest.raises(VlmDataError, match="2 confidences and 1 answers"):
        compute(np.array([0.5, 0.5]), np.array([True]))


def test_rows_tell_calibration_after_the_temperature_of_their_own_model(made_tables):
    tables = made_tables(alphas=(0.0, 1.0))
    temperatures = fitted_temperatures(tables)
    assert len(temperatures) == 2
    rows = score_tables(tables, scoring=Scoring(resamples=0, temperatures=temperatures))
    for alpha in (0.0, 1.0):
        mine = [row for row in rows if row["alpha"] == alpha]
        (temperature,) = {round(row["metrics"]["temperature"], 12) for row in mine}
        (table,) = [t for t in tables if t.meta["data"] == "made/invert" and t.meta["alpha"] == repr(alpha)]
        (row,) = [row for row in mine if row["data"] == "made/invert"]
        after = rescaled(table, temperature)
        assert row["metrics"]["ece_rescaled"] == pytest.approx(after.ece_after)
        assert row["metrics"]["nll_rescaled"] == pytest.approx(after.nll_after)
    assert len({row["metrics"]["temperature"] for row in rows if row["severity"] != 0 and row["group"] != ""}) > 1


def test_without_a_temperature_rows_tell_none():
    table = Predictions(("a",), np.array([0]), np.array([[2.0, 0.0]], dtype=np.float32))
    assert "ece_rescaled" not in score(table, scoring=Scoring(resamples=0))["metrics"]


def test_shifts_and_test_sets_give_no_temperature(made_tables):
    assert fitted_temperatures(table for table in made_tables() if table.meta["split"] != "val") == {}
