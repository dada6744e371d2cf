"""Stanford Dogs: official lists, names of breeds, boxes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from specimens.evidence import DOG_CLASSES, write_boxes, write_stanforddogs
from vlm_data import load_benchmark
from vlm_data.box_annotations import annotated_boxes
from vlm_data.datasets.stanforddogs import breed, cut_breed
from vlm_data.errors import DataLayoutError

TESTED = tuple(f"{key}/{key.split('-')[0]}_{number}.jpg" for key in DOG_CLASSES for number in ("111", "9"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_stanforddogs(tmp_path)
    return tmp_path


def test_the_lists_of_the_authors_are_the_split_in_sorted_order(tree: Path):
    benchmark = load_benchmark("stanforddogs", tree)
    assert benchmark.test.ids == TESTED and benchmark.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (len(benchmark.train), len(benchmark.val)) == (9, 3)
    assert list(benchmark.train.ids) == sorted(benchmark.train.ids)
    assert benchmark.notes == (f"3 of the 120 breeds are in {tree}/stanford_dogs.",)


@pytest.mark.parametrize("folder", ["Stanford_Dogs", "StanfordDogs"])
def test_lists_may_lie_beside_the_images_or_be_positions(tree: Path, folder: str):
    (tree / "stanford_dogs").rename(tree / folder)
    lists = tree / folder / "lists"
    for path in list(lists.iterdir()):
        path.rename(tree / folder / path.name)
    assert load_benchmark("stanforddogs", tree).test.ids == TESTED
    everything = sorted(f"{path.parent.name}/{path.name}" for path in (tree / folder / "Images").rglob("*.jpg"))
    tested = [everything.index(image) for image in TESTED]
    for split in ("train", "test"):
        (tree / folder / f"{split}_list.mat").unlink()
    with pytest.raises(DataLayoutError, match=r"has no list of its train images. Expected lists/train_list\.mat"):
        load_benchmark("stanforddogs", tree)
    (tree / folder / "test_idxs.json").write_text(json.dumps(tested))
    (tree / folder / "train_idxs.json").write_text(json.dumps([row for row in range(18) if row not in tested]))
    assert load_benchmark("stanforddogs", tree).test.ids == TESTED
    (tree / folder / "test_idxs.json").write_text(json.dumps([*tested, 0]))
    with pytest.raises(DataLayoutError, match="put 1 images into train and test"):
        load_benchmark("stanforddogs", tree)
    (tree / folder / "test_idxs.json").write_text("{}")
    with pytest.raises(DataLayoutError, match=r"test_idxs\.json is not a list of whole numbers"):
        load_benchmark("stanforddogs", tree)


def test_breeds_with_hyphens_are_whole_unless_asked_for(tree: Path):
    assert load_benchmark("stanforddogs", tree).class_names == ("chihuahua", "shih-tzu", "greater swiss mountain dog")
    cut = load_benchmark("stanforddogs:published-names", tree)
    assert cut.name == "stanforddogs-published-names" and cut.class_names[1] == "shih"
    keys = ("n02089078-black-and-tan_coonhound", "n02100236-German_short-haired_pointer", "n02095314-wire-haired_fox")
    assert [breed(key) for key in keys] == ["black-and-tan coonhound", "german short-haired pointer", "wire-haired fox"]
    assert [cut_breed(key) for key in keys] == ["black", "german short", "wire"]


def test_evidence_is_the_union_of_all_boxes_both_corners_included_and_cut_at_the_border(tree: Path):
    test = load_benchmark("stanforddogs", tree).test
    one = np.zeros((16, 20), dtype=bool)
    one[1:6, 2:7] = True
    two = one.copy()
    two[8:13, 10:20] = True  # reaches to column 25, past the last
    np.testing.assert_array_equal(test.evidence(0), one)
    np.testing.assert_array_equal(test.evidence(1), two)


def test_grey_images_and_those_with_four_channels_are_rgb(tree: Path):
    benchmark = load_benchmark("stanforddogs", tree)
    for data in (benchmark.train, benchmark.val, benchmark.test):
        for index in range(len(data)):
            image, mask = data.image(index), data.evidence(index)
            assert image.mode == "RGB" and mask is not None and mask.shape == image.size[::-1]


def test_boxes_are_scaled_where_the_image_is_another_size_than_was_annotated(tmp_path: Path):
    write_boxes(tmp_path / "a", [(20, 10, 59, 49)], size=(200, 100))
    assert annotated_boxes(tmp_path / "a", (200, 100)).tolist() == [[20, 10, 59, 49]]
    assert annotated_boxes(tmp_path / "a", (100, 100)).tolist() == [[10, 10, 29, 49]]
    write_boxes(tmp_path / "a", [(20, 10, 59, 49)], size=(0, 0))  # not told
    assert annotated_boxes(tmp_path / "a", (100, 100)).tolist() == [[20, 10, 59, 49]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation>", "cannot read"),
        ("", "cannot read"),
        ("<annotation/>", "has no object"),
        ("<a><object><name>dog</name></object></a>", "whose box is missing"),
        ("<a><object><bndbox><xmin>1</xmin></bndbox></object></a>", r"whose box is \[1, -1, -1, -1\]"),
        (
            "<a><object><bndbox><xmin>9</xmin><ymin>1</ymin><xmax>4</xmax><ymax>x</ymax></bndbox></object></a>",
            r"whose box is \[9, 1, 4, -1\]",
        ),
    ],
)
def test_a_broken_annotation_is_told_when_it_is_asked_for(tree: Path, content: str, message: str):
    (tree / "stanford_dogs" / "Annotation" / DOG_CLASSES[0] / "n02085620_111").write_text(content)
    test = load_benchmark("stanforddogs", tree).test
    with pytest.raises(DataLayoutError, match=rf"{message}.*Expected|n02085620_111.*{message}.*Expected"):
        test.evidence(0)


def test_missing_annotations_are_no_evidence(tree: Path):
    folder = tree / "stanford_dogs" / "Annotation"
    (folder / DOG_CLASSES[0] / "n02085620_111").unlink()
    shutil.rmtree(folder / DOG_CLASSES[1])
    test = load_benchmark("stanforddogs", tree).test
    assert [test.evidence(row) is None for row in range(6)] == [True, False, True, True, False, False]
    shutil.rmtree(folder)
    assert all(load_benchmark("stanforddogs", tree).test.evidence(row) is None for row in range(6))


def test_lists_and_images_have_to_fit_together(tree: Path):
    extra = tree / "stanford_dogs" / "Images" / DOG_CLASSES[0] / "n02085620_77.jpg"
    shutil.copy(extra.with_name("n02085620_9.jpg"), extra)
    assert "1 of 19 images" in load_benchmark("stanforddogs", tree).notes[1]
    extra.with_name("n02085620_9.jpg").unlink()
    with pytest.raises(
        DataLayoutError, match=r"1 images that the lists .* not in .*Images: 'n02085620-Chihuahua/n0208"
    ):
        load_benchmark("stanforddogs", tree)


def test_a_list_that_is_no_matlab_file_is_told(tree: Path):
    path = tree / "stanford_dogs" / "lists" / "test_list.mat"
    path.write_bytes(b"nothing")
    with pytest.raises(DataLayoutError, match=r"cannot read file_list from .*test_list\.mat"):
        load_benchmark("stanforddogs", tree)
    savemat(path, {"file_list": np.array([["n02085620-Chihuahua/n02085620_9.jpg"]], dtype=object)})
    assert "5 of 18 images" in load_benchmark("stanforddogs", tree).notes[1]
