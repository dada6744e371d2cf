"""Selection of images with natural features: sizes, strength, and what cannot be had."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_data.controlled.correlation import correlated_counts, cramers_v
from vlm_data.controlled.selection import balanced_counts, cell_sizes, draw_cells, largest_counts, split_cells
from vlm_data.errors import CallError

CELLS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=2, max_size=4)


@settings(max_examples=30)
@given(CELLS, st.floats(0, 1), st.data())
def test_the_largest_set_fits_and_the_next_larger_does_not(cells, v, data):
    available = np.array(cells)
    spurious = data.draw(st.integers(0, len(cells) - 1))
    most = data.draw(st.integers(2 * len(cells), 300))
    try:
        counts = largest_counts(available, spurious, v, most)
    except CallError:
        return
    assert (counts <= available).all() and counts.sum() <= most
    sizes = counts.sum(axis=1)
    assert (sizes == sizes[0]).all()
    assert counts.tolist() == correlated_counts(sizes.tolist(), spurious, v).tolist()


@pytest.mark.parametrize("v", [0.0, 0.5, 0.9, 0.99])
def test_with_enough_images_the_strength_is_met(v):
    counts = largest_counts(np.full((4, 2), 5000), 1, v, 4000)
    assert counts.sum() == 4000 and abs(cramers_v(counts) - v) < 0.005


def test_the_scarcest_cell_bounds_the_set():
    counts = largest_counts(np.array([[500, 40], [500, 500]]), 0, 0.9, 4000)
    assert counts[0, 1] == 40 and counts.sum() < 100


def test_what_cannot_be_had_is_told_with_the_numbers():
    with pytest.raises(CallError, match=r"V = 0\.9: .* there are 5 and 0, 9 and 9 images"):
        largest_counts(np.array([[5, 0], [9, 9]]), 0, 0.9, 100)


@given(CELLS, st.integers(8, 500))
def test_balanced_sets_have_the_feature_in_half_of_every_class(cells, most):
    counts = balanced_counts(np.array(cells), most)
    assert (counts[:, 0] == counts[:, 1]).all() and counts.sum() <= most
    assert (counts <= np.array(cells)).all()


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=80), st.integers(0, 3))
def test_splits_take_their_share_of_every_cell(images, seed):
    labels, feature = np.array([label for label, _ in images]), np.array([present for _, present in images])
    shares = {"test": 0.2, "val": 0.1}
    splits = split_cells(labels, feature, shares, "train", np.random.default_rng(seed))
    assert splits.tolist() == split_cells(labels, feature, shares, "train", np.random.default_rng(seed)).tolist()
    sizes = cell_sizes(labels, feature, 3)
    for split, share in shares.items():
        chosen = splits == split
        assert (np.abs(cell_sizes(labels[chosen], feature[chosen], 3) - share * sizes) <= 0.5 + 1e-9).all()


def test_draws_have_the_counts_and_repeat_no_image():
    rng = np.random.default_rng(1)
    labels, feature = rng.integers(0, 3, 200), rng.random(200) < 0.5
    counts = np.array([[3, 4], [0, 5], [6, 0]])
    rows = np.flatnonzero(rng.random(200) < 0.8)
    drawn = draw_cells(labels, feature, rows, counts, np.random.default_rng(2))
    assert np.array_equal(cell_sizes(labels[drawn], feature[drawn], 3), counts)
    assert len(set(drawn.tolist())) == 18 and set(drawn.tolist()) <= set(rows.tolist())
    assert not np.array_equal(drawn, draw_cells(labels, feature, rows, counts, np.random.default_rng(3)))
