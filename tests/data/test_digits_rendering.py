"""Placing digits on a canvas: interpolation against torch, geometry against what is asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vlm_data.digits.colours import COLOUR_NAMES, PALETTE, draw_colour_pairs, luminance, paint
from vlm_data.digits.glyph_bank import GLYPH_EXTENT, glyphs
from vlm_data.digits.rendering import Placement, cubic_matrix, draw_placement, evidence, place
from vlm_data.digits.shifts import draw_rendered


def placement(size: float = 1.0, rotation: float = 0.0, centre: tuple[float, float] = (0.0, 0.0)) -> Placement:
    one = np.ones(1, dtype=np.float32)
    return Placement(one * size, one, one * 0, one * rotation, np.array([centre], dtype=np.float32))


def blot(width: float = 0.25) -> np.ndarray:
    axis = (np.arange(32) * 2 + 1) / 32 - 1
    return np.exp(-0.5 * (axis[:, None] ** 2 + axis[None] ** 2) / width**2).astype(np.float32)[None]


def centre_of(ink: np.ndarray) -> np.ndarray:
    axis = (np.arange(32) * 2 + 1) / 32 - 1
    return np.array([(ink.sum(axis=1) * axis).sum(), (ink.sum(axis=2) * axis).sum()]) / ink.sum()


@given(source=st.integers(2, 12), target=st.integers(2, 40))
def test_cubic_matrix_is_bicubic_interpolation(source: int, target: int):
    picture = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, source, source)))
    matrix = torch.from_numpy(cubic_matrix(source, target)).double()
    expected = functional.interpolate(picture, target, mode="bicubic")[0, 0]
    assert torch.allclose(matrix @ picture[0, 0] @ matrix.T, expected, atol=1e-5)


@given(size=st.floats(0.4, 0.9), x=st.floats(-1, 1), y=st.floats(-1, 1))
def test_centre_and_size_are_where_they_should_be(size: float, x: float, y: float):
    centre = (x * (1 - size), y * (1 - size))
    ink = place(blot(), 1.0, placement(size, centre=centre))
    assert np.allclose(centre_of(ink), centre, atol=0.02)
    assert ink.sum() == pytest.approx(blot().sum() * size**2, rel=0.02)


def test_a_quarter_turn_turns_clockwise():
    ink = glyphs("heldout")[0, 7:8].astype(np.float32) / 255
    turned = place(ink, 1.0, placement(rotation=np.pi / 2))
    assert np.abs(turned[0] - np.rot90(ink[0], -1)).max() < 1e-3


def test_extent_makes_the_size_mean_the_longest_side():
    ink = glyphs("pretraining")[0].astype(np.float32) / 255
    for size in (0.5, 0.9):
        placed = place(ink, GLYPH_EXTENT, draw_placement(10, np.random.default_rng(0), size=(size, size), centred=True))
        heights = evidence(placed).any(axis=2).sum(axis=1)
        assert np.abs(heights - size * 32).max() <= 2


def test_uncentred_digits_stay_on_the_canvas_and_use_all_of_it():
    lie = draw_placement(2000, np.random.default_rng(0), size=(0.45, 0.65))
    reach = np.abs(lie.centre) + lie.size[:, None]
    assert reach.max() <= 1 + 1e-6
    assert np.abs(lie.centre).max() > 0.5


def test_bending_moves_ink_but_keeps_it():
    rng = np.random.default_rng(0)
    ink = np.repeat(blot(), 200, axis=0)
    bent = place(ink, 1.0, draw_placement(200, rng, size=(1.0, 1.0), centred=True, bend=0.08))
    change = np.abs(bent - ink).mean()
    assert 0.01 < change < 0.1
    assert bent.sum() == pytest.approx(ink.sum(), rel=0.1)


def test_outside_its_frame_a_digit_has_no_ink():
    full = np.ones((1, 8, 8), dtype=np.float32)
    ink = place(full, 1.0, placement(0.5))
    assert ink[0, 9:23, 9:23].min() == 1
    assert ink[0, :7].max() == ink[0, :, :7].max() == 0


@given(contrast=st.sampled_from([0.0, 0.25, 0.5]), light_ink=st.sampled_from([0.0, 1.0]))
def test_colour_pairs_keep_contrast_and_polarity(contrast: float, light_ink: float):
    ink, ground = draw_colour_pairs(500, np.random.default_rng(0), contrast=contrast, light_ink=light_ink)
    difference = luminance(PALETTE[ink]) - luminance(PALETTE[ground])
    assert np.abs(difference).min() > contrast
    assert ((difference > 0) == bool(light_ink)).all()


def test_all_pairs_of_colours_occur():
    ink, ground = draw_colour_pairs(5000, np.random.default_rng(0))
    assert len(set(zip(ink.tolist(), ground.tolist(), strict=True))) == len(COLOUR_NAMES) * (len(COLOUR_NAMES) - 1)


def test_paint_gives_the_two_colours_at_the_ends():
    ink = np.array([[[0.0, 1.0]]], dtype=np.float32)
    assert np.allclose(paint(ink, PALETTE[None, None, 0:1], PALETTE[None, None, 2:3])[0, 0], PALETTE[[2, 0]])


def test_rendering_depends_on_its_generator_alone():
    def draw(seed: int) -> np.ndarray:
        np.random.default_rng(99).normal()
        lie = {"size": (0.6, 0.9), "rotation_degrees": 8.0}
        return draw_rendered(np.arange(10), "heldout", np.random.default_rng(seed), **lie).pictures.stored()

    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))
