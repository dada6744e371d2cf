import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vlm_data.dataset import ArrayDataset, FileDataset, ImageDataset
from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_data.regions import CroppedDataset
from vlm_data.transforms import evaluation_transform, transform_boxes


@pytest.fixture
def pictures():
    images = np.random.default_rng(0).integers(0, 256, (3, 10, 20, 3), dtype=np.uint8)
    masks = images[..., 0] > 100
    return ArrayDataset("noise", "test", ("a", "b", "c"), np.array([0, 1, -1]), images, masks, (("x",), ("y",), ("z",)))


def test_regions_are_a_data_set(pictures):
    boxes = np.array([[0, 0, 5, 4], [3.4, 2.6, 20, 10], [2, 2, 3, 3]])
    regions = CroppedDataset(pictures, np.array([1, 1, 2]), boxes)
    assert isinstance(regions, ImageDataset)
    assert regions.ids == ("b#0", "b#1", "c#2")
    assert regions.labels.tolist() == [1, 1, -1]
    assert regions.captions == (("y",), ("y",), ("z",))
    np.testing.assert_array_equal(np.asarray(regions.image(1)), pictures.images[1, 3:10, 3:20])
    np.testing.assert_array_equal(regions.evidence(0), pictures.masks[1, 0:4, 0:5])
    assert [regions.image_size(i) for i in range(3)] == [(5, 4), (17, 7), (1, 1)]
    assert regions.select([2]).ids == ("c#0",)


def test_fingerprint_follows_boxes_rows_and_images(pictures):
    def fingerprint(rows, boxes, whole=pictures):
        return CroppedDataset(whole, np.array(rows), np.array(boxes)).fingerprint

    first = fingerprint([0], [[0, 0, 5, 5]])
    assert first == fingerprint([0], [[0, 0, 5, 5]])
    others = {fingerprint([1], [[0, 0, 5, 5]]), fingerprint([0], [[0, 0, 5, 6]])}
    others.add(fingerprint([0], [[0, 0, 5, 5]], pictures.select([0, 1])))
    assert len(others | {first}) == 4


@pytest.mark.parametrize("box", [[-5, -5, 30, 30], [19.6, 9.6, 25, 25], [-9, -9, -3, -3], [4.5, 4.5, 4.6, 4.6]])
def test_boxes_outside_and_thinner_than_a_pixel_still_give_pixels(pictures, box):
    region = CroppedDataset(pictures, np.array([0]), np.array([box], dtype=float))
    width, height = region.image(0).size
    assert 1 <= width <= 20 and 1 <= height <= 10
    assert region.image_size(0) == (width, height)


@pytest.mark.parametrize(
    ("rows", "boxes", "message"),
    [
        ([0], [[0, 0, 0, 5]], r"region 0 has the box \[0.0, 0.0, 0.0, 5.0\]; expected x1 < x2 and y1 < y2"),
        ([0, 0], [[0, 0, 5, 5], [0, 0, np.nan, 5]], "region 1 has the box .* 1 of 2 boxes are wrong"),
        ([3], [[0, 0, 5, 5]], "region 0 lies in image 3; expected a number from 0 to 2"),
        ([0, 1], [[0, 0, 5, 5]], "regions do not fit together"),
        ([], np.zeros((0, 4)), "at least one"),
    ],
)
def test_wrong_regions_are_refused(pictures, rows, boxes, message):
    with pytest.raises(CallError, match=message):
        CroppedDataset(pictures, np.array(rows), np.array(boxes))


def test_size_of_a_file_is_read_from_its_header(tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
    data = FileDataset("files", "test", ("a",), np.array([0]), (tmp_path / "a.png",))
    assert data.image_size(0) == data.image(0).size == (7, 5)


RULES = st.sampled_from([("shortest", 0), ("shortest", 6), ("squash", 0)])


@given(st.integers(8, 90), st.integers(8, 90), st.integers(4, 40), RULES, st.data())
def test_boxes_move_with_the_pixels_under_them(width, height, size, rule, data):
    """A white rectangle, transformed, lies where its box is moved to."""
    x = sorted(data.draw(st.lists(st.integers(0, width), min_size=2, max_size=2, unique=True)))
    y = sorted(data.draw(st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True)))
    box = np.array([[x[0], y[0], x[1], y[1]]], dtype=float)
    resize, more = rule
    preprocess = Preprocess(size, interpolation="bilinear", resize=resize, resize_side=size + more)
    moved, share = transform_boxes(box, (width, height), preprocess)
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[y[0] : y[1], x[0] : x[1]] = 255
    found = evaluation_transform(Image.fromarray(picture), preprocess)[0].double().numpy() / 255
    x1, y1, x2, y2 = moved[0]
    assert 0 <= share[0] <= 1 + 1e-9
    assert (moved >= 0).all() and (moved <= size).all()
    # the mass of the picture lies in the moved box, up to one cell of smoothing on each side
    scale = max(1.0, (size + more) / min(width, height))
    cells = np.arange(size) + 0.5
    near = lambda low, high: (cells > low - scale - 1) & (cells < high + scale + 1)  # noqa: E731
    outside = found * ~np.outer(near(y1, y2), near(x1, x2))
    assert outside.max() == 0
    inner = lambda low, high: (cells > low + scale + 1) & (cells < high - scale - 1)  # noqa: E731
    inside = found[np.ix_(inner(y1, y2), inner(x1, x2))]
    assert inside.size == 0 or inside.min() == 1
