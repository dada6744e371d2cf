import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from vlm_data import load_benchmark
from vlm_data.errors import CallError
from vlm_explain.evidence import evidence_area, patch_shares

sides = st.integers(1, 12)


@given(npst.arrays(bool, st.tuples(sides, sides)), st.tuples(sides, sides))
def test_shares_keep_the_area_of_the_mask_on_any_grid(mask, grid):
    shares = patch_shares(mask, grid)
    assert shares.shape == grid
    assert (shares > -1e-12).all() and (shares < 1 + 1e-12).all()
    assert shares.mean() == pytest.approx(mask.mean(), abs=1e-12)


@given(npst.arrays(bool, st.tuples(sides, sides)))
def test_a_grid_of_pixels_is_the_mask(mask):
    np.testing.assert_allclose(patch_shares(mask, mask.shape), mask, atol=1e-12)


def test_transposing_mask_and_grid_transposes_the_shares():
    mask = np.random.default_rng(0).random((10, 7)) < 0.4
    np.testing.assert_allclose(patch_shares(mask, (4, 3)).T, patch_shares(mask.T, (3, 4)), atol=1e-12)


def test_a_grid_without_patches_is_refused():
    with pytest.raises(CallError, match=r"cannot be laid on a grid of \(0, 4\) patches"):
        patch_shares(np.ones((4, 4), dtype=bool), (0, 4))


def test_evidence_of_digits_is_ink_and_moves_with_the_image():
    digits = load_benchmark("digits", limit=20)
    shifts = {shift.name: shift.datasets[0] for shift in digits.shifts}
    clean = evidence_area(digits.test)
    assert 0.05 < clean.mean() < 0.6
    np.testing.assert_array_equal(evidence_area(shifts["invert"]), clean)  # colours change, the ink stays where it was
    assert evidence_area(shifts["canvas"]).mean() < clean.mean()  # the digit is smaller there


def test_unknown_evidence_is_nan():
    class Plain:
        def __len__(self):
            return 2

        def evidence(self, index):
            return None

    assert np.isnan(evidence_area(Plain())).all()
