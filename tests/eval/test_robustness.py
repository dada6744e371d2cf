from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError
from vlm_eval.intervals import clopper_pearson
from vlm_eval.metrics.diversity import (
    kappa_complement,
    kernel_distance,
    mean_divergence,
    mean_margin,
    override_rates,
    prediction_diversity,
)
from vlm_eval.metrics.robustness import fit_baseline, logit, relative_robustness, sigmoid

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "effective_robustness" / "fit.npz")


class TestGolden:
    def test_fit(self):
        fit = fit_baseline(GOLDEN["baseline_ref"], GOLDEN["baseline_shift"])
        assert fit.slope == pytest.approx(float(GOLDEN["slope"]), abs=1e-9)
        assert fit.intercept == pytest.approx(float(GOLDEN["intercept"]), abs=1e-9)
        assert fit.r2 == pytest.approx(float(GOLDEN["r2"]), abs=1e-9)
        reference, shifted = GOLDEN["model_ref"], GOLDEN["model_shift"]
        np.testing.assert_allclose(fit.expected(reference), GOLDEN["expected_shift"], atol=1e-9)
        np.testing.assert_allclose(
            fit.effective_robustness(reference, shifted), GOLDEN["effective_robustness"], atol=1e-9
        )
        np.testing.assert_allclose(fit.residual(reference, shifted), GOLDEN["logit_residual"], atol=1e-9)

    def test_logit_and_interval(self):
        np.testing.assert_allclose(logit(GOLDEN["logit_in"]), GOLDEN["logit_out"], atol=1e-12)
        found = [clopper_pearson(int(k), int(n)) for k, n in zip(GOLDEN["cp_k"], GOLDEN["cp_n"], strict=True)]
        np.testing.assert_allclose(found, GOLDEN["cp_low_high"], atol=1e-9)


@given(st.floats(-3, 3), st.floats(-2, 2), st.lists(st.floats(0.05, 0.95), min_size=3, max_size=20, unique=True))
def test_models_on_a_line_give_the_line(slope, intercept, shares):
    reference = np.array(shares)
    if np.ptp(reference) < 0.01:
        return
    fit = fit_baseline(reference, sigmoid(slope * logit(reference) + intercept))
    assert (fit.slope, fit.intercept) == pytest.approx((slope, intercept), abs=1e-6)
    np.testing.assert_allclose(fit.effective_robustness(reference, fit.expected(reference)), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("reference", "shifted", "message"),
    [
        ([0.5, 0.6], [0.4, 0.5], "cannot be fitted to 2 models"),
        ([0.5, 0.5, 0.5], [0.4, 0.5, 0.6], "3 models of 1 reference accuracies"),
        ([0.5, 0.6, 1.0], [0.4, 0.5, 0.6], "an accuracy of 1 has no logit"),
        ([0.5, 0.6, 0.7], [0.4, 0.5, 0.0], "an accuracy of 0 has no logit"),
        ([50.0, 60.0, 70.0], [40.0, 50.0, 60.0], "as fractions"),
        ([0.5, 0.6, 0.7], [0.4, 0.5], "expected one pair each"),
        ([0.5, 0.6, np.nan], [0.4, 0.5, 0.6], "an accuracy of nan"),
    ],
)
def test_baselines_that_fit_nothing_are_refused(reference, shifted, message):
    with pytest.raises(CallError, match=message):
        fit_baseline(np.array(reference), np.array(shifted))


def test_relative_robustness_is_the_change():
    np.testing.assert_allclose(relative_robustness(np.array([0.4, 0.5]), np.array([0.5, 0.3])), [0.1, -0.2])


class TestDiversity:
    logits = np.random.default_rng(0).normal(size=(3, 200, 5))
    labels = np.random.default_rng(1).integers(0, 5, 200)

    def test_a_model_does_not_differ_from_itself(self):
        one = self.logits[0]
        assert prediction_diversity(one, one, self.labels) == 0
        assert kappa_complement(one, one) == 0
        assert mean_divergence(one, one) == 0
        assert kernel_distance(one, one) == pytest.approx(0, abs=1e-12)

    def test_independent_models_disagree_as_by_chance(self):
        many = np.random.default_rng(2).normal(size=(2, 20_000, 5))
        assert kappa_complement(*many) == pytest.approx(1, abs=0.02)

    def test_counts_by_hand(self):
        a, b = (np.eye(3)[answers] for answers in ([0, 1, 2, 0], [0, 2, 2, 1]))
        labels = np.array([0, 1, 2, 1])
        assert prediction_diversity(a, b, labels) == 0.5
        # equal answers: 2 of 4; chance: (2 1 + 1 1 + 1 2) / 16
        assert kappa_complement(a, b) == pytest.approx(0.5 / (1 - 5 / 16))
        mixture = np.eye(3)[[0, 1, 0, 2]]
        assert override_rates(mixture, a, b) == (0.5, 0.0)
        assert mean_margin(2 * a) == 2

    def test_divergence_of_two_known_distributions(self):
        p, q = np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]])
        expected = (p * np.log(p / q)).sum()
        assert mean_divergence(np.log(p), np.log(q)) == pytest.approx(expected)
        assert mean_divergence(np.array([[0.0, -np.inf]]), np.log(q)) == pytest.approx(-np.log(0.9))

    def test_kernel_distance_ignores_rotation_and_scale(self):
        features = self.logits[0]
        rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
        assert kernel_distance(features, 3 * features @ rotation + 1) == pytest.approx(0, abs=1e-12)
        assert 0 < kernel_distance(features, self.logits[1]) <= 1

    def test_borders(self):
        same = np.tile([1.0, 0.0], (4, 1))
        assert np.isnan(kappa_complement(same, same))
        assert np.isnan(override_rates(same, same, same)).all()
        with pytest.raises(CallError, match="cannot be compared"):
            prediction_diversity(self.logits[0], self.logits[1][:10], self.labels)
        with pytest.raises(CallError, match="no kernel"):
            kernel_distance(same, same)
        with pytest.raises(CallError, match="no margin"):
            mean_margin(np.zeros((3, 1)))
