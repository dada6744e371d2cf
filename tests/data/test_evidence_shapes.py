import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.evidence.boxes import Boxes, boxes_in_clean_crop, boxes_mask
from vlm_data.evidence.polygons import polygon_mask
from vlm_data.evidence.shapes import Box, Outline

SIZE = st.tuples(st.integers(1, 30), st.integers(1, 30))
BOXES = st.lists(st.tuples(*[st.integers(-40, 40)] * 4), max_size=4)


@given(size=SIZE, boxes=BOXES)
def test_boxes_are_all_pixels_between_their_corners(size: tuple[int, int], boxes: list[tuple[int, ...]]):
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    expected = np.zeros((size[1], size[0]), dtype=bool)
    for x1, y1, x2, y2 in boxes:
        expected |= (x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2)
    assert np.array_equal(boxes_mask(np.array(boxes, dtype=np.int64).reshape(-1, 4), size), expected)


@given(size=SIZE, corners=st.tuples(*[st.integers(-5, 35)] * 4))
def test_the_outline_of_a_rectangle_is_a_box(size: tuple[int, int], corners: tuple[int, ...]):
    x1, x2 = sorted(corners[:2])
    y1, y2 = sorted(corners[2:])
    outline = polygon_mask(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]), size)
    assert np.array_equal(outline, boxes_mask(np.array([[x1, y1, x2, y2]]), size))


def test_outlines_of_few_points():
    assert polygon_mask(np.zeros((0, 2)), (3, 2)).sum() == 0
    assert polygon_mask(np.array([[1, 1]]), (3, 2)).tolist() == [[False] * 3, [False, True, False]]
    assert polygon_mask(np.array([[0, 0], [2, 0]]), (3, 2)).tolist() == [[True] * 3, [False] * 3]


def test_fractions_of_outlines_are_cut_off():
    points = np.array([[0.9, 0.9], [3.9, 0.2], [3.1, 2.9], [0.2, 2.1]])
    assert np.array_equal(polygon_mask(points, (6, 5)), boxes_mask(np.array([[0, 0, 3, 2]]), (6, 5)))


@given(size=st.tuples(st.integers(20, 600), st.integers(20, 600)))
def test_the_whole_of_a_clean_image_covers_its_crop(size: tuple[int, int]):
    (box,) = boxes_in_clean_crop(np.array([[0, 0, size[0], size[1]]]), size)
    assert (box[:2] <= 0).all() and (box[2:] >= 224).all()


@given(size=SIZE, data=st.data())
def test_a_box_touches_its_pixels(size: tuple[int, int], data: st.DataObject):
    x = sorted(data.draw(st.lists(st.floats(0, size[0]), min_size=2, max_size=2, unique=True)))
    y = sorted(data.draw(st.lists(st.floats(0, size[1]), min_size=2, max_size=2, unique=True)))
    columns, rows = np.arange(size[0]), np.arange(size[1])
    expected = np.outer((rows + 1 > y[0]) & (rows < y[1]), (columns + 1 > x[0]) & (columns < x[1]))
    assert np.array_equal(Box(x[0], y[0], x[1], y[1]).mask(size), expected)


def test_a_shape_may_reach_one_pixel_over_the_border():
    assert Box(-1, -0.5, 5, 4).mask((4, 3)).all()
    assert Outline(np.array([[-1.0, -1.0], [5, -1], [5, 4], [-1, 4]])).mask((4, 3)).all()
    for box in (Box(-1.1, 0, 3, 3), Box(0, 0, 5.1, 3), Box(0, 0, 3, 4.5)):
        with pytest.raises(ValueError, match="leaves the image of 4 x 3 pixels"):
            box.mask((4, 3))


@pytest.mark.parametrize("corners", [(1, 1, 1, 2), (2, 1, 1, 2), (0, 0, float("inf"), 1), (float("nan"), 0, 1, 1)])
def test_boxes_without_area_are_refused(corners: tuple[float, float, float, float]):
    with pytest.raises(ValueError, match="has no area; expected x1 < x2 and y1 < y2"):
        Box(*corners)


def test_boxes_held_in_memory():
    boxes = Boxes({"a": np.array([[0, 0, 2, 1], [2, 2, 4, 3]])})
    mask = boxes.mask("a", (6, 5))
    assert mask is not None and mask.sum() == 12
    assert boxes.knows("a") and not boxes.knows("b") and boxes.mask("b", (6, 5)) is None
    others = Boxes({"a": np.array([[0, 0, 2, 1], [2, 2, 4, 4]])}), Boxes({"b": boxes.boxes["a"]})
    assert len({source.fingerprint for source in (boxes, *others)}) == 3
