import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError
from vlm_eval.metrics.spectrum import feature_spectrum, projection_spectrum


def features(samples=400, width=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)


class TestFeatures:
    def test_it_is_the_correlation_matrix(self):
        values = features()
        expected = np.linalg.eigvalsh(np.corrcoef(values.T))[::-1]
        found = feature_spectrum([values])
        np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-12)
        assert found.sigma_min == pytest.approx(expected[-1]) and found.sigma_max == pytest.approx(expected[0])
        assert found.condition == pytest.approx(expected[0] / expected[-1])
        assert found.inverse_sigma_min == pytest.approx(1 / expected[-1])

    @given(st.lists(st.integers(1, 399), max_size=6), st.floats(-1e4, 1e4))
    def test_streaming_is_the_one_shot_result_and_the_trace_is_d(self, cuts, offset):
        values = features() + offset
        parts = np.split(values, sorted(cuts))
        found = feature_spectrum([part for part in parts if len(part)])
        np.testing.assert_allclose(found.eigenvalues, feature_spectrum([features()]).eigenvalues, rtol=1e-8, atol=1e-8)
        assert found.eigenvalues.sum() == pytest.approx(6)

    def test_scaling_a_column_changes_nothing_and_a_rotation_does(self):
        values = features()
        before = feature_spectrum([values]).eigenvalues
        np.testing.assert_allclose(feature_spectrum([values * [1, 50, 1, 1e-3, 1, 7]]).eigenvalues, before, atol=1e-10)
        rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
        assert np.abs(feature_spectrum([values @ rotation]).eigenvalues - before).max() > 0.01

    def test_white_features_have_full_rank_and_the_known_sigma_min(self):
        white = np.random.default_rng(0).normal(size=(20_000, 64))
        found = feature_spectrum([white])
        assert found.effective_rank == pytest.approx(64, rel=0.01)
        assert found.sigma_min == pytest.approx((1 - np.sqrt(64 / 20_000)) ** 2, rel=0.02)

    def test_a_duplicated_column_gives_zero(self):
        values = features()
        found = feature_spectrum([np.concatenate([values, values[:, :1]], axis=1)])
        assert found.sigma_min == pytest.approx(0, abs=1e-12)
        assert found.inverse_sigma_min > 1e12
        assert len(found.tail) == 7

    def test_constant_columns_are_left_out_and_counted(self):
        values = np.concatenate([features(), np.full((400, 2), 3.3)], axis=1)
        found = feature_spectrum([values])
        assert found.constant_columns == 2
        np.testing.assert_allclose(found.eigenvalues, feature_spectrum([features()]).eigenvalues, atol=1e-10)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.random.default_rng(0).normal(size=(6, 6)), "6 samples of 6 features have no spectrum: with N <= d"),
            (np.full((9, 2), np.nan), "infinite or undefined"),
            (np.ones((9, 2)), "the same for every sample"),
        ],
    )
    def test_what_has_no_spectrum_is_refused(self, values, message):
        with pytest.raises(CallError, match=message):
            feature_spectrum([values])

    def test_nothing_is_refused(self):
        with pytest.raises(CallError, match="no features"):
            feature_spectrum([])


class TestProjections:
    def test_orthonormal_columns(self):
        matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 3)))[0]
        found = projection_spectrum(matrix, np.eye(3))
        assert found.orthogonality_residual == pytest.approx(0, abs=1e-12)
        assert (found.sigma_min, found.sigma_max) == pytest.approx((1, 1))
        assert found.cross_norm == pytest.approx(np.sqrt(3))

    @pytest.mark.parametrize("shape", [(8, 3), (3, 8)])
    def test_the_gram_matrix_of_the_smaller_side(self, shape):
        matrix = np.random.default_rng(0).normal(size=shape)
        gram = matrix.T @ matrix if shape[0] > shape[1] else matrix @ matrix.T
        expected = np.linalg.norm(gram - np.eye(3))
        assert projection_spectrum(matrix, matrix).orthogonality_residual == pytest.approx(expected)

    def test_projections_into_different_spaces_are_refused(self):
        with pytest.raises(CallError, match="do not lead into one space"):
            projection_spectrum(np.eye(3), np.eye(2))
