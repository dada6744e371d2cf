import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from vlm_explain.rationale.measures import (
    OVERLAP_MEASURES,
    average_precision,
    normalised_mass,
    overlap_measures,
    pointing_game,
    rank_accuracy,
    relevance_mass,
)


@st.composite
def maps_with_masks(draw, low=0):
    """Maps of few different values, so that ties are common, and masks that are neither empty nor all of the image."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(2, 5)))
    levels = draw(npst.arrays(np.int64, shape, elements=st.integers(low, 4)))
    masks = draw(npst.arrays(bool, shape))
    masks[:, 0, 0], masks[:, 0, 1] = True, False
    levels[:, 0, 0] += 1  # never without relevance
    return torch.from_numpy(levels / 4.0), torch.from_numpy(masks)


def mean_over_orders(maps, masks, measured):
    """Return the mean of a measure over all orders of the pixels that agree with the map."""
    values, inside = maps.flatten().tolist(), masks.flatten().tolist()
    groups = [
        [inside[place] for place in range(len(values)) if values[place] == value]
        for value in sorted(set(values), reverse=True)
    ]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    return np.mean([measured([hit for group in order for hit in group]) for order in orders])


@st.composite
def small_case(draw):
    shape = (1, 2, draw(st.integers(1, 3)))
    values = draw(npst.arrays(np.int64, shape, elements=st.integers(1, 3)))
    masks = draw(npst.arrays(bool, shape))
    masks[0, 1, 0] = True
    return torch.from_numpy(values.astype(np.float64)), torch.from_numpy(masks)


@given(small_case())
def test_ties_at_the_rank_are_an_expectation_over_all_orders(case):
    maps, masks = case
    expected = mean_over_orders(maps, masks, lambda hits: np.mean(hits[: sum(hits)]))
    assert float(rank_accuracy(maps, masks)[0]) == pytest.approx(expected, abs=1e-12)


@given(small_case())
def test_ties_at_the_maximum_are_an_expectation_over_all_orders(case):
    maps, masks = case
    expected = mean_over_orders(maps, masks, lambda hits: hits[0])
    assert float(pointing_game(maps, masks)[0]) == pytest.approx(expected, abs=1e-12)


@given(maps_with_masks())
def test_average_precision_is_that_of_scikit_learn(case):
    oracle = pytest.importorskip("sklearn.metrics").average_precision_score
    maps, masks = case
    expected = [oracle(mask.flatten(), values.flatten()) for values, mask in zip(maps, masks, strict=True)]
    np.testing.assert_allclose(average_precision(maps, masks), expected, rtol=1e-12)


def test_average_precision_of_a_map_worked_out_by_hand():
    maps = torch.tensor([[[4.0, 3.0, 3.0], [2.0, 1.0, 0.0]]])
    masks = torch.tensor([[[True, True, False], [False, True, False]]])
    # Thresholds 4, 3, 1: precision 1, 2/3, 3/5 and a third of the evidence gained at each.
    assert float(average_precision(maps, masks)[0]) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


@given(maps_with_masks())
def test_bounds_and_a_batch_is_its_images(case):
    maps, masks = case
    found = overlap_measures(maps, masks)
    assert tuple(found) == OVERLAP_MEASURES
    for name, values in found.items():
        assert values.dtype == torch.float64
        assert ((values >= 0) & (values <= (torch.inf if name == "normalised_mass" else 1 + 1e-12))).all()
        for row in range(len(maps)):
            alone = overlap_measures(maps[row : row + 1], masks[row : row + 1])[name]
            assert torch.equal(alone, values[row : row + 1])


@given(maps_with_masks(), st.floats(0.1, 1000.0))
def test_a_positive_factor_changes_nothing(case, factor):
    maps, masks = case
    scaled = overlap_measures(maps * factor, masks)
    for name, values in overlap_measures(maps, masks).items():
        np.testing.assert_allclose(scaled[name], values, rtol=1e-9)


@given(maps_with_masks())
def test_masses_of_a_mask_and_its_complement_are_all_of_it(case):
    maps, masks = case
    np.testing.assert_allclose(relevance_mass(maps, masks) + relevance_mass(maps, ~masks), 1, rtol=1e-12)
    np.testing.assert_allclose(pointing_game(maps, masks) + pointing_game(maps, ~masks), 1, rtol=1e-12)


@given(maps_with_masks())
def test_the_mask_itself_as_map_is_best_in_everything(case):
    _, masks = case
    found = overlap_measures(masks.float(), masks)
    for name in ("mass", "pointing", "rank", "average_precision"):
        assert (found[name] == 1).all(), name


@given(maps_with_masks())
def test_a_map_that_looks_everywhere_alike_scores_the_area(case):
    _, masks = case
    even = torch.full(masks.shape, 0.3)
    area = masks.double().mean(dim=(1, 2))
    for measured in (relevance_mass, pointing_game, rank_accuracy, average_precision):
        np.testing.assert_allclose(measured(even, masks), area, rtol=1e-12)
    np.testing.assert_allclose(normalised_mass(even, masks), 1, rtol=1e-12)


def test_without_relevance_nothing_but_the_area_is_defined():
    masks = torch.zeros(1, 3, 4, dtype=torch.bool)
    masks[0, 0, :2] = True
    found = overlap_measures(torch.zeros(1, 3, 4), masks)
    assert float(found.pop("area")[0]) == pytest.approx(1 / 6)
    assert all(values.isnan().all() for values in found.values())


def test_half_precision_is_summed_in_double():
    """In half precision the sum of 50,176 values ends at 2,048 or so, where adding 1 changes nothing."""
    maps = torch.rand(2, 224, 224, generator=torch.Generator().manual_seed(0)).half()
    masks = torch.zeros(2, 224, 224, dtype=torch.bool)
    masks[:, :100, 30:90] = True
    wide = maps.numpy().astype(np.float64)
    expected = wide[:, :100, 30:90].sum(axis=(1, 2)) / wide.sum(axis=(1, 2))
    np.testing.assert_allclose(relevance_mass(maps, masks), expected, rtol=1e-12)


def test_an_even_area_at_the_border_is_a_tie_whatever_rounding_makes_of_it():
    patches = torch.zeros(1, 1, 4, 4)
    patches[0, 0, 0, 0] = 0.7182818
    maps = torch.nn.functional.interpolate(patches, (32, 32), mode="bilinear")[0]
    masks = torch.zeros(1, 32, 32, dtype=torch.bool)
    masks[0, :4, :2] = True  # half of the 4 x 4 pixels that have the value of the patch
    noise = 1 + 2e-7 * torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(0))
    for some in (maps, maps * noise):
        found = overlap_measures(some, masks)
        assert (float(found["pointing"]), float(found["rank"]), float(found["average_precision"])) == (0.5, 0.5, 0.5)
