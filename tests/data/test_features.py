"""Features: every shape is drawn, in its colour, where it should be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.controlled.features import COLOURS, SHAPES, Feature, draw_feature
from vlm_data.errors import CallError


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(16, 16), (28, 28), (9, 5), (1, 1)])
def test_a_shape_fills_its_box_alike_on_both_sides(shape: str, size: tuple[int, int]):
    mask = Feature(shape).mask(*size)
    assert mask.shape == size[::-1]
    assert np.array_equal(mask, mask[:, ::-1])
    if min(size) > 8:
        assert mask.any(axis=1).all() and mask.any(axis=0).all()
    assert mask.all() == (shape == "rectangle") or size == (1, 1)


def test_no_two_shapes_are_alike():
    assert len({Feature(shape).mask(16, 16).tobytes() for shape in SHAPES}) == len(SHAPES)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_is_read(shape: str, colour: str):
    feature = Feature(shape, colour)
    assert Feature.of(str(feature)) == feature
    assert Feature.of(f"{colour.upper()}-{shape}") == feature


def test_one_word_is_enough():
    assert Feature.of("blue") == Feature("rectangle", "blue")
    assert Feature.of("disc") == Feature("disc", "red")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red rectangel", "unknown shape 'rectangel'. Did you mean 'rectangle'"),
        ("rad disc", "unknown colour 'rad'. Did you mean 'red'"),
        ("reed", "unknown shape or colour 'reed'. Did you mean 'red'"),
        ("a red disc", "'a red disc' is not a colour and a shape; write for example 'red rectangle'"),
        ("", "'' is not a colour and a shape"),
    ],
)
def test_what_is_no_feature_is_refused(text: str, message: str):
    with pytest.raises(CallError, match=message):
        Feature.of(text)


@given(st.integers(-6, 9), st.integers(-6, 9), st.integers(1, 9), st.integers(1, 9), st.sampled_from(sorted(SHAPES)))
def test_drawing_changes_the_box_and_nothing_else(x: int, y: int, width: int, height: int, shape: str):
    image = np.random.default_rng(0).integers(0, 200, (10, 10, 3), dtype=np.uint8)
    before = image.copy()
    box, feature = (x, y, x + width, y + height), Feature(shape, "white")
    inside = np.zeros((10, 10), dtype=bool)
    inside[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
    if not inside.any():
        with pytest.raises(CallError, match="covers no pixel of an image of 10 x 10"):
            draw_feature(image, box, feature)
        return
    drawn = draw_feature(image, box, feature)
    changed = (drawn != image).any(axis=2)
    assert np.array_equal(image, before)
    assert not (changed & ~inside).any()
    assert (drawn[changed] == 255).all()
    if shape == "rectangle":
        assert np.array_equal(changed, inside)
