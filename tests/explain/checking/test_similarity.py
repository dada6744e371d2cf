import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from vlm_explain.checking.similarity import rank_correlation, structural_similarity

few_levels = npst.arrays(np.int64, (2, 3, 4), elements=st.integers(0, 5))


@given(few_levels, few_levels)
def test_rank_correlation_is_that_of_scipy(a, b):
    oracle = pytest.importorskip("scipy.stats").spearmanr
    a[:, 0, 0], a[:, 0, 1] = 7, 8  # neither map is the same everywhere
    b[:, 0, 0], b[:, 0, 1] = 9, 7
    found = rank_correlation(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    expected = [oracle(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_only_the_order_counts():
    maps = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rank_correlation(maps, maps.exp() * 7), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(rank_correlation(maps, -maps), -torch.ones(3, dtype=torch.float64))
    assert rank_correlation(maps, torch.ones(3, 5, 4)).isnan().all()


def test_structural_similarity_worked_out_by_hand():
    """One window of 2 x 2 pixels."""
    a, b = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])
    level, contrast = 1e-4, 9e-4
    shared, spread = 1 / 4 - 1 / 2 * 1 / 4, 1 / 4 + 3 / 16
    expected = (1 / 4 + level) * (2 * shared + contrast) / ((1 / 4 + 1 / 16 + level) * (spread + contrast))
    assert float(structural_similarity(a, b)[0]) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(2, 3), (3, 20), (16, 16)])
def test_structural_similarity_is_one_for_equal_maps_and_less_for_others(shape):
    maps = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(structural_similarity(maps, maps), torch.ones(2, dtype=torch.float64))
    assert (structural_similarity(maps, 1 - maps) < 0.95).all()
    torch.testing.assert_close(structural_similarity(maps, 1 - maps), structural_similarity(1 - maps, maps))
