"""Boxes of ImageNet's validation images, by name, and in the images of ImageNet-C."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from specimens.evidence import write_localisation
from specimens.images import write_image
from specimens.published import write_imagenet
from vlm_data import load_benchmark
from vlm_data.dataset import ImageDataset
from vlm_data.errors import DataLayoutError
from vlm_data.evidence.boxes import boxes_in_clean_crop, boxes_mask
from vlm_data.imagenet.localisation import cropped_boxes, read_boxes
from vlm_data.preprocess import Preprocess
from vlm_data.transforms import evaluation_mask

FIRST, SECOND = "n01498041_0", "n01498041_1"
GOLDEN = Path(__file__).parents[1] / "golden" / "rationality"
TABLE = "LOC_val_solution.csv"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_imagenet(tmp_path)
    return tmp_path


def corrupted(tree: Path) -> ImageDataset:
    return next(one for one in load_benchmark("imagenet", tree).shifts if one.name == "snow").datasets[2]


def test_evidence_of_the_test_images_is_found_by_name(tree: Path):
    benchmark = load_benchmark("imagenet", tree)
    expected = np.zeros((16, 20), dtype=bool)
    expected[4:12, 5:11] = True  # n01498041 5 4 10 11
    np.testing.assert_array_equal(benchmark.test.evidence(1), expected)
    assert benchmark.train.evidence(0) is None and benchmark.val.evidence(0) is None
    for shift in benchmark.shifts:
        assert all((level.evidence(0) is not None) == (shift.group == "corruption") for level in shift.datasets)


def test_the_table_may_lie_beside_the_images_in_the_layout_of_the_published_comparison(tree: Path):
    before = load_benchmark("imagenet", tree).test.evidence(1)
    home = tree / "IN"
    home.mkdir()
    (tree / "imagenet").rename(home / "ilsvrc")
    (home / "ilsvrc" / TABLE).rename(home / TABLE)
    (tree / "ImageNet-C").rename(home / "ImageNet-C")
    for root in (tree, home):
        found = load_benchmark("imagenet", root)
        np.testing.assert_array_equal(found.test.evidence(1), before)
        assert [shift.name for shift in found.shifts][-2:] == ["gaussian_noise", "snow"]


def test_boxes_are_joined_and_images_without_a_line_have_no_evidence(tree: Path):
    table = tree / "imagenet" / TABLE
    write_localisation(table, {SECOND: "n01498041 0 0 1 1 n01498041 18 14 19 30"})
    test = load_benchmark("imagenet", tree).test
    mask = test.evidence(1)
    assert mask is not None and mask.sum() == 4 + 4 and mask[:2, :2].all() and mask[14:, 18:].all()
    assert test.evidence(0) is None
    table.unlink()
    assert load_benchmark("imagenet", tree).test.evidence(1) is None
    assert corrupted(tree).evidence(0) is None


def test_boxes_of_a_corrupted_image_are_those_of_the_clean_one_through_its_crop(tree: Path):
    write_image(tree / "imagenet" / "val" / "n01498041" / f"{FIRST}.JPEG", (60, 40))
    for level in range(1, 6):
        write_image(tree / "ImageNet-C" / "snow" / str(level) / "n01498041" / f"{FIRST}.JPEG", (224, 224))
    write_localisation(tree / "imagenet" / TABLE, {FIRST: "n01498041 10 10 29 19"})
    clean = np.zeros((40, 60), dtype=bool)
    clean[10:20, 10:30] = True
    found = corrupted(tree).evidence(0)
    expected = np.asarray(  # the shorter side to 256, its centre of 224
        Image.fromarray(clean).resize((384, 256), Image.Resampling.NEAREST).crop((80, 16, 304, 240))
    )
    assert found is not None and (found ^ expected).mean() < 0.01
    assert found[48:112, 0:112].all() and found.sum() == 64 * 112  # 10 to 20 and 10 to 30 times 6.4, less 16 and 80


def test_an_object_outside_the_crop_is_an_empty_mask(tree: Path):
    write_image(tree / "imagenet" / "val" / "n01498041" / f"{FIRST}.JPEG", (200, 40))
    write_localisation(tree / "imagenet" / TABLE, {FIRST: "n01498041 0 0 19 39"})
    found = corrupted(tree).evidence(0)
    assert found is not None and found.shape == (16, 16) and not found.any()


def test_a_corrupted_image_without_a_clean_one_has_no_evidence_and_a_note_says_so(tree: Path):
    write_image(tree / "ImageNet-C" / "snow" / "3" / "n01498041" / "n01498041_77.JPEG", (16, 16))
    benchmark = load_benchmark("imagenet", tree)
    assert benchmark.notes[2] == "1 images of ImageNet-C have no clean image of that name, so no evidence."
    level = corrupted(tree)
    assert [level.evidence(row) is None for row in range(3)] == [False, True, False]


def test_a_corrupted_image_that_is_no_central_cut_is_refused(tree: Path):
    write_image(tree / "ImageNet-C" / "snow" / "3" / "n01498041" / f"{FIRST}.JPEG", (20, 16))
    with pytest.raises(DataLayoutError, match=r"n01498041_0\.JPEG has 20 x 16 pixels\. Expected 224 x 224"):
        corrupted(tree).evidence(0)


def test_pixels_are_counted_as_stored_whatever_the_camera_says_about_its_rotation(tree: Path):
    path = tree / "imagenet" / "val" / "n01498041" / f"{SECOND}.JPEG"
    picture = Image.open(path)
    exif = picture.getexif()
    exif[274] = 6  # to be shown turned by 90 degrees
    picture.save(path, exif=exif)
    test = load_benchmark("imagenet", tree).test
    mask = test.evidence(1)
    assert mask is not None and test.image(1).size == (20, 16) and mask.shape == (16, 20) and mask[4:12, 5:11].all()


def test_images_in_the_folder_of_another_class_are_found_out(tree: Path):
    write_localisation(tree / "imagenet" / TABLE, {FIRST: "n01531178 1 1 2 2"})
    with pytest.raises(DataLayoutError, match=r"val/n01498041/n01498041_0\.JPEG is not in the folder of its class: "):
        load_benchmark("imagenet", tree)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,b", "c,d"], "its columns are a, b"),
        ([""], "its columns are missing"),
        (["ImageId,PredictionString", "x,n01498041 1 2 3"], "line 2 has the boxes 'n01498041 1 2 3'"),
        (["ImageId,PredictionString", "x,n01498041 1 2 3 y"], "line 2 has the boxes"),
        (["ImageId,PredictionString", "x,n01498041 5 2 3 4"], "line 2 has the boxes"),
        (["ImageId,PredictionString", "x,n01498041 1 2 nan 4"], "line 2 has the boxes"),
        (["ImageId,PredictionString", "x,n01498041 1 2 3 4 n01531178 1 2 3 4"], "line 2 has the boxes"),
        (["ImageId,PredictionString", "x,"], "line 2 has the boxes ''"),
        (["ImageId,PredictionString", ",n01498041 1 2 3 4"], "line 2 has no image"),
        (["ImageId,PredictionString", *["x,n01498041 1 2 3 4"] * 2], "line 3 has image x again"),
    ],
)
def test_a_broken_table_is_refused(tree: Path, lines: list[str], message: str):
    (tree / "imagenet" / TABLE).write_text("\n".join(lines))
    with pytest.raises(DataLayoutError, match=rf"cannot read .*{TABLE}: {message}.*Expected the table of ImageNet's"):
        load_benchmark("imagenet", tree)


def test_boxes_are_cut_to_whole_pixels(tmp_path: Path):
    write_localisation(tmp_path / TABLE, {"a": "n01498041 1.9 2.0 3.99 4"})
    wnid, boxes = read_boxes(tmp_path / TABLE)["a"]
    assert wnid == "n01498041" and boxes.tolist() == [[1, 2, 3, 4]]


def test_cropped_boxes_are_the_published_ones_but_for_a_pixel_at_each_edge():
    entries = json.loads((GOLDEN / "masks.json").read_text())["imagenet"]
    packed = np.load(GOLDEN / "masks.npz")["imagenet_masks_packed"]
    for entry, expected in zip(entries, np.unpackbits(packed, axis=1).reshape(-1, 224, 224).astype(bool), strict=True):
        boxes, size = np.array(entry["boxes_xyxy"]), (entry["width"], entry["height"])
        found = cropped_boxes(boxes, size)
        assert np.abs(found - boxes_in_clean_crop(boxes, size)).max() <= 1
        mask = boxes_mask(found, (224, 224))
        assert (mask & expected).sum() / (mask | expected).sum() >= 0.85  # thin ones differ by a pixel of few


@given(st.integers(30, 700), st.integers(30, 700), st.data())
@settings(max_examples=60, deadline=None)
def test_cropped_boxes_are_the_mask_after_the_same_transform(width: int, height: int, data: st.DataObject):
    x = sorted(data.draw(st.tuples(*[st.integers(0, width - 1)] * 2)))
    y = sorted(data.draw(st.tuples(*[st.integers(0, height - 1)] * 2)))
    boxes = np.array([[x[0], y[0], x[1], y[1]]])
    found = boxes_mask(cropped_boxes(boxes, (width, height)), (224, 224))
    moved = evaluation_mask(boxes_mask(boxes, (width, height)), Preprocess(224, resize_side=256))
    differing = int((found ^ moved).sum())
    assert differing <= 4 * 224 and differing <= 0.25 * found.sum() + 4 * 224 * (max(x[1] - x[0], y[1] - y[0]) < 8)


def test_class_names_may_be_the_first_synonyms_of_a_file(tree: Path):
    lines = [f"thing {number}, other {number}" for number in range(1000)]
    lines[6] = lines[11] = "crane, bird"
    (tree / "imagenet-classes.txt").write_text("\n".join(lines))  # no line break at the end
    benchmark = load_benchmark("imagenet:first-synonyms", tree)
    assert benchmark.class_names == ("crane", "crane", "thing 409", "thing 414", "thing 530")
    assert benchmark.name == "imagenet-first-synonyms" and benchmark.templates == ("a photo of a {c}",)
    assert (
        benchmark.notes[-1]
        == "1 class name stands for several classes: 'crane'. No prompt can tell these classes apart."
    )
    assert benchmark.shifts[0].datasets[0].name == "imagenet-first-synonyms/v2"
    assert load_benchmark("imagenet:border,first-synonyms", tree).shifts[4].name == "objectnet-border"
    (tree / "imagenet-classes.txt").write_text("\n".join([*lines[:-1], ","]))
    with pytest.raises(DataLayoutError, match=r"has 1000 lines, 1 of them without a name"):
        load_benchmark("imagenet:first-synonyms", tree)
    (tree / "imagenet-classes.txt").unlink()
    with pytest.raises(DataLayoutError, match=r"cannot read .*imagenet-classes\.txt"):
        load_benchmark("imagenet:first-synonyms", tree)
