"""Outlines of Caltech101, and the split behind published numbers of rationales."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from specimens.evidence import write_caltech101, write_caltech101_lists
from vlm_data import load_benchmark
from vlm_data.caltech101.outlines import object_outline, outline_mask
from vlm_data.caltech101.published_split import held_out_positions
from vlm_data.dataset import FileDataset
from vlm_data.errors import CallError, DataLayoutError
from vlm_data.preprocess import Preprocess
from vlm_data.transforms import evaluation_mask

GOLDEN = Path(__file__).parents[1] / "golden" / "rationality"
NAMES = ["background google", "faces easy", "car side", "yin yang"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A miniature as the published comparison has it, `caltech_101/caltech-101`."""
    write_caltech101(tmp_path)
    (tmp_path / "caltech_101").mkdir()
    (tmp_path / "caltech-101").rename(tmp_path / "caltech_101" / "caltech-101")
    return tmp_path


def inside() -> np.ndarray:
    mask = np.zeros((16, 20), dtype=bool)
    mask[3:11, 5:15] = True  # OUTLINE, cut to whole pixels, at the top left corner of BOX
    return mask


@pytest.mark.parametrize("name", ["caltech101", "caltech101:published"])
def test_the_outline_of_every_image_is_its_evidence(tree: Path, name: str):
    benchmark = load_benchmark(name, tree)
    for data in (benchmark.train, benchmark.val, benchmark.test):
        for index in range(len(data)):
            np.testing.assert_array_equal(data.evidence(index), inside())
            assert data.image(index).mode == "RGB"  # one image of the miniature is grey


def test_annotation_folders_may_be_called_like_those_of_the_images(tree: Path):
    folder = tree / "caltech_101" / "caltech-101" / "Annotations"
    (folder / "Faces_3").rename(folder / "Faces_easy")
    assert load_benchmark("caltech101", tree).test.evidence(0) is not None


def test_without_annotations_there_is_no_evidence_and_the_data_is_the_same(tree: Path):
    with_outlines = load_benchmark("caltech101", tree)
    shutil.rmtree(tree / "caltech_101" / "caltech-101" / "Annotations")
    without = load_benchmark("caltech101", tree)
    assert without.test.ids == with_outlines.test.ids and without.test.evidence(0) is None
    assert without.test.fingerprint != with_outlines.test.fingerprint


def test_an_image_without_an_outline_has_no_evidence_and_is_not_in_the_published_split(tree: Path):
    (tree / "caltech_101" / "caltech-101" / "Annotations" / "yin_yang" / "annotation_0003.mat").unlink()
    test = load_benchmark("caltech101", tree).train
    lost = [image for image in test.ids if image.endswith("yin_yang/image_0003.jpg")]
    assert [one for row, one in enumerate(test.ids) if test.evidence(row) is None] == lost
    published = load_benchmark("caltech101:published", tree)
    ids = {*published.train.ids, *published.val.ids, *published.test.ids}
    assert len(ids) == 29 and "yin_yang/image_0003.jpg" not in ids


def test_the_published_split_tests_every_fifth_image_and_has_the_background_as_a_name_only(tree: Path):
    benchmark = load_benchmark("caltech101:published", tree)
    assert benchmark.name == "caltech101-published" and benchmark.templates == ("a photo of a {c}",)
    assert list(benchmark.class_names) == NAMES
    assert benchmark.test.ids == (
        *("Faces_easy/image_0002.jpg", "Faces_easy/image_0007.jpg"),
        *("car_side/image_0002.jpg", "car_side/image_0007.jpg"),
        *("yin_yang/image_0002.jpg", "yin_yang/image_0007.jpg"),
    )
    assert benchmark.test.labels.tolist() == [1, 1, 2, 2, 3, 3]
    assert len(benchmark.train) + len(benchmark.val) == 24 and 0 not in benchmark.train.labels


def test_the_lists_of_the_published_comparison_are_read(tree: Path):
    expected = load_benchmark("caltech101:published", tree)
    folder = tree / "caltech_101"
    write_caltech101_lists(folder, NAMES, list(range(10, 40)))
    assert load_benchmark("caltech101:published", tree).test.ids == expected.test.ids
    write_caltech101_lists(folder, NAMES, list(range(15, 40)))
    assert load_benchmark("caltech101:published", tree).test.ids[0] == "Faces_easy/image_0007.jpg"
    write_caltech101_lists(folder, NAMES, [10, 40])
    with pytest.raises(DataLayoutError, match=r"yes_seg\.json has positions outside 0 to 39: '40'"):
        load_benchmark("caltech101:published", tree)
    write_caltech101_lists(folder, NAMES, [10, 10])
    with pytest.raises(DataLayoutError, match="has a position twice"):
        load_benchmark("caltech101:published", tree)
    write_caltech101_lists(folder, NAMES[1:], list(range(10, 40)))
    with pytest.raises(DataLayoutError, match=r"label_dict\.json does not name the 4 class folders"):
        load_benchmark("caltech101:published", tree)
    (folder / "label_dict.json").write_text("{")
    with pytest.raises(DataLayoutError, match=r"cannot read .*label_dict\.json"):
        load_benchmark("caltech101:published", tree)


def test_the_published_split_needs_the_archive_of_the_authors(tree: Path):
    folder = tree / "caltech_101" / "caltech-101"
    shutil.rmtree(folder / "101_ObjectCategories")
    with pytest.raises(DataLayoutError, match=r"there is no folder .*101_ObjectCategories"):
        load_benchmark("caltech101:published", tree)
    with pytest.raises(CallError, match=r"write --data caltech101, or one of: caltech101:published\."):
        load_benchmark("caltech101:publisht", tree)


@given(st.integers(5, 20_000))
def test_no_position_is_past_the_last_image(count: int):
    step = count // int(0.2 * count)
    published = [position + 1 for position in range(0, count, step)]
    assert list(held_out_positions(count)) == [position for position in published if position < count]


def test_too_few_images_to_test_are_refused():
    with pytest.raises(DataLayoutError, match="only 4 annotated images"):
        held_out_positions(4)


def test_files_give_the_published_masks(tmp_path: Path):
    entries = json.loads((GOLDEN / "masks.json").read_text())["caltech"]
    packed = np.load(GOLDEN / "masks.npz")["caltech_masks_packed"]
    for entry, expected in zip(entries, np.unpackbits(packed, axis=1).reshape(-1, 224, 224).astype(bool), strict=True):
        values = {"box_coord": [entry["box_coord"]], "obj_contour": np.array(entry["obj_contour"], dtype=np.float64)}
        savemat(tmp_path / "a.mat", values)
        outline = outline_mask(tmp_path / "a.mat", (entry["width"], entry["height"]))
        found = evaluation_mask(outline, Preprocess(224))
        assert (found & expected).sum() / (found | expected).sum() >= 0.98


def test_an_outline_lies_at_the_corner_of_its_box_without_overflow(tmp_path: Path):
    contour = np.array([[0.9, 100.2, -0.9], [0.0, 3.7, 30.0]])
    savemat(tmp_path / "a.mat", {"box_coord": np.array([[200, 250, 190, 255]], np.uint8), "obj_contour": contour})
    assert object_outline(tmp_path / "a.mat").tolist() == [[190, 200], [290, 203], [190, 230]]


@pytest.mark.parametrize(
    "content",
    [
        {"box_coord": [[1, 2, 3]], "obj_contour": np.ones((2, 4))},
        {"box_coord": [[1, 2, 3, 4]], "obj_contour": np.ones((2, 2))},
        {"box_coord": [[1, 2, 3, 4]], "obj_contour": np.ones((3, 4))},
        {"box_coord": [[1, 2, 3, 4]], "obj_contour": np.full((2, 4), np.nan)},
        {"box_coord": "four", "obj_contour": np.ones((2, 4))},
        {"box_coord": [[1, 2, 3, 4]]},
        {},
    ],
    ids=["box of three", "two corners", "three rows", "no numbers", "text", "no contour", "empty"],
)
def test_a_broken_outline_is_told_when_it_is_asked_for(tree: Path, content: dict[str, object]):
    path = tree / "caltech_101" / "caltech-101" / "Annotations" / "Faces_3" / "annotation_0002.mat"
    savemat(path, content)
    test = load_benchmark("caltech101:published", tree).test
    assert isinstance(test, FileDataset)
    with pytest.raises(DataLayoutError, match=r"annotation_0002\.mat.*Expected"):
        test.evidence(0)
    assert test.evidence(1) is not None


def test_a_file_that_is_no_outline_at_all_is_told(tree: Path):
    path = tree / "caltech_101" / "caltech-101" / "Annotations" / "Faces_3" / "annotation_0002.mat"
    for content in (b"", b"no MATLAB file", path.read_bytes()[:150]):
        path.write_bytes(content)
        with pytest.raises(DataLayoutError, match=r"cannot read box_coord, obj_contour from .*annotation_0002\.mat"):
            load_benchmark("caltech101:published", tree).test.evidence(0)
