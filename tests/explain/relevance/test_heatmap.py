import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlm_explain.relevance.heatmap import heat_maps

sides = st.integers(1, 9)


def random_maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 99), st.integers(2, 6), st.integers(2, 6), st.integers(7, 20), st.integers(7, 20))
def test_maps_reach_from_zero_to_one(seed, rows, columns, height, width):
    maps, flat = heat_maps(random_maps(seed, 3, rows, columns), (height, width))
    assert maps.shape == (3, height, width)
    assert not flat.any()
    torch.testing.assert_close(maps.amin((1, 2)), torch.zeros(3))
    torch.testing.assert_close(maps.amax((1, 2)), torch.ones(3))


@given(st.integers(0, 99), st.floats(1e-3, 1e3), st.floats(-2, 2))
def test_scale_and_offset_have_no_effect(seed, scale, offset):
    raw = random_maps(seed, 2, 4, 5)
    found, _ = heat_maps(scale * (raw + offset), (12, 15))
    torch.testing.assert_close(found, heat_maps(raw, (12, 15))[0], atol=1e-4, rtol=0)


def test_transposing_the_relevance_transposes_the_map():
    raw = random_maps(1, 1, 3, 5)
    torch.testing.assert_close(heat_maps(raw.mT, (20, 12))[0], heat_maps(raw, (12, 20))[0].mT)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-30, 1e30, math.inf, math.nan])
def test_a_map_that_is_the_same_everywhere_is_undefined(value):
    raw = torch.stack([torch.full((2, 3), value), random_maps(2, 2, 3)])
    maps, flat = heat_maps(raw, (7, 5))
    assert flat.tolist() == [True, False]
    assert not maps[0].any()
    torch.testing.assert_close(maps[1:], heat_maps(raw[1:], (7, 5))[0])


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_map_with_a_value_that_is_no_number_is_undefined(bad):
    raw = random_maps(3, 1, 3, 3)
    raw[0, 1, 1] = bad
    maps, flat = heat_maps(raw, (9, 9))
    assert flat.all() and not maps.any()


def test_rounding_is_no_relevance():
    maps, flat = heat_maps(0.3 + 1e-8 * random_maps(4, 1, 7, 7), (224, 224))
    assert flat.all() and not maps.any()


def test_one_patch_says_nothing():
    assert heat_maps(torch.ones(1, 1, 1), (8, 8))[1].all()


def test_small_values_of_half_precision_count():
    maps, flat = heat_maps((1e-6 * random_maps(5, 1, 4, 4).abs()).half(), (8, 8))
    assert not flat.any() and maps.dtype == torch.float32 and maps.max() == 1
