import numpy as np
import pytest

from vlm_data.errors import CallError
from vlm_explain.pictures import overlay
from vlm_explain.pictures.colours import EVIDENCE, heat_colours, rgb


def lightness(colours):
    """L* of CIE 1976 of sRGB colours."""
    channels = colours / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return 116 * np.cbrt(linear @ np.array([0.2126, 0.7152, 0.0722])) - 16


def test_more_relevance_is_lighter_by_even_steps():
    steps = np.diff(lightness(heat_colours(np.linspace(0, 1, 11))))
    assert steps.min() > 5 and steps.max() < 11


def test_colours_in_grey_tell_more_from_less_and_the_outline_stands_out():
    scale = heat_colours(np.linspace(0, 1, 101)).astype(int)
    assert np.abs(scale - rgb(EVIDENCE)).sum(axis=1).min() > 150


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(40, 256, (8, 16, 3), dtype=np.uint8)


def test_small_images_are_enlarged_by_whole_pixels(image):
    picture = np.asarray(overlay(image, side=64))
    assert np.array_equal(picture, image.repeat(4, axis=0).repeat(4, axis=1))


@pytest.mark.parametrize(("shape", "size"), [((8, 16), (96, 48)), ((300, 200), (64, 96)), ((1, 300), (96, 1))])
def test_the_shape_of_the_image_stays(shape, size):
    assert overlay(np.zeros((*shape, 3), dtype=np.uint8), np.ones((3, 3)), np.ones(shape, bool), side=96).size == size


def test_colours_come_where_relevance_is(image):
    heatmap = np.zeros((8, 16))
    heatmap[:, 12:] = 1
    picture = np.asarray(overlay(image, heatmap, side=64)).astype(int)
    plain = np.asarray(overlay(image, side=64)).astype(int)
    assert (picture[:, :40].sum(axis=2) < plain[:, :40].sum(axis=2)).all()  # dimmed
    assert np.abs(picture[:, 58:] - heat_colours(np.ones(1))[0].astype(int)).max() < 0.15 * 255
    bright, dark = (np.asarray(overlay(np.full((8, 16, 3), level, np.uint8), heatmap, side=64)) for level in (255, 0))
    assert np.abs(bright[:, 58:].astype(int) - dark[:, 58:]).max() < 0.15 * 255  # it looks alike on any ground


def test_a_map_without_relevance_dims_and_colours_nothing():
    picture = np.asarray(overlay(np.full((4, 4, 3), 200, np.uint8), np.zeros((4, 4)), side=32))
    assert np.unique(picture).tolist() == [90]


def test_the_outline_lies_inside_of_the_evidence():
    evidence = np.zeros((32, 32), dtype=bool)
    evidence[8:24, 4:28] = True
    picture = np.asarray(overlay(np.full((32, 32, 3), 120, np.uint8), None, evidence, side=128))
    outline = (picture == rgb(EVIDENCE)).all(axis=2)
    large = evidence.repeat(4, axis=0).repeat(4, axis=1)
    expected = large.copy()
    expected[33:95, 17:111] = False  # one pixel wide
    assert np.array_equal(outline, expected)
    assert (picture[~outline & ~(picture == 0).all(axis=2)] == 120).all()


@pytest.mark.parametrize("evidence", [np.zeros((8, 16), bool), np.ones((8, 16), bool)])
def test_nothing_and_everything_can_be_evidence(image, evidence):
    outline = (np.asarray(overlay(image, None, evidence, side=64)) == rgb(EVIDENCE)).all(axis=2)
    assert not outline.any()  # an outline at the border of the picture would say that the object ends there


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_maps_of_another_scale_are_refused(image, value):
    with pytest.raises(CallError, match=r"expected 0 to 1\. vlm_explain.relevance.heatmap.heat_maps"):
        overlay(image, np.full((4, 4), value))
