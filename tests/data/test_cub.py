"""CUB-200-2011: official split by image number, soft segmentations, and the published order."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from specimens.evidence import CUB_CLASSES, write_cub
from vlm_data import load_benchmark
from vlm_data.errors import CallError, DataLayoutError

BIRDS = ("Black_footed_Albatross", "Laysan_Albatross", "Indigo_Bunting")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_cub(tmp_path)
    return tmp_path


def birds(numbers: tuple[int, int]) -> tuple[str, ...]:
    return tuple(
        f"{key}/{bird}_{10 + number:04d}_{number}.jpg"
        for key, bird in zip(CUB_CLASSES, BIRDS, strict=True)
        for number in numbers
    )


def test_the_split_goes_by_the_numbers_of_images_txt(tree: Path):
    benchmark = load_benchmark("cub", tree)
    assert benchmark.class_names == ("black footed albatross", "laysan albatross", "indigo bunting")
    assert benchmark.templates == ("a photo of a {c}",)
    assert benchmark.test.ids == birds((3, 5))  # first and third of the list, which runs backwards
    assert benchmark.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (len(benchmark.train), len(benchmark.val)) == (9, 3)
    assert benchmark.notes == (f"3 of the 200 classes are in {tree}/CUB_200_2011.",)


def test_the_published_order_takes_line_k_for_the_kth_file(tree: Path):
    benchmark = load_benchmark("cub:sorted", tree)
    assert benchmark.name == "cub-sorted" and benchmark.test.ids == birds((0, 2))
    assert np.bincount(benchmark.test.labels).tolist() == [2, 2, 2]  # as many, but others


def test_the_archive_may_lie_in_a_folder_with_segmentations_beside_it(tree: Path):
    expected = load_benchmark("cub", tree).test
    fingerprint, mask = expected.fingerprint, expected.evidence(0)
    (tree / "CUB").mkdir()
    (tree / "CUB_200_2011").rename(tree / "CUB" / "CUB_200_2011")
    (tree / "CUB" / "CUB_200_2011" / "segmentations").rename(tree / "CUB" / "segmentations")
    found = load_benchmark("cub", tree).test
    assert found.ids == expected.ids and found.fingerprint == fingerprint
    np.testing.assert_array_equal(found.evidence(0), mask)


def test_evidence_is_where_most_people_saw_the_bird_or_all(tree: Path):
    most, everyone = (load_benchmark(name, tree).test for name in ("cub", "cub:unanimous"))
    expected = np.zeros((2, 16, 20), dtype=bool)
    expected[0, 2:14, 4:16] = True
    expected[1, 4:12, 8:12] = True
    np.testing.assert_array_equal(most.evidence(0), expected[0])
    np.testing.assert_array_equal(everyone.evidence(0), expected[1])
    assert most.ids == everyone.ids and most.fingerprint != everyone.fingerprint


def test_options_go_together_and_unknown_ones_are_told(tree: Path):
    assert load_benchmark("cub:unanimous,sorted", tree).name == "cub-sorted-unanimous"
    with pytest.raises(CallError, match=r"'cub:sortd' names a source.*one of: cub:sorted, cub:unanimous\."):
        load_benchmark("cub:sortd", tree)


def test_segmentations_with_several_channels_are_read_and_missing_ones_are_no_evidence(tree: Path):
    folder = tree / "CUB_200_2011" / "segmentations"
    expected = load_benchmark("cub", tree).test.evidence(0)
    paths = [(folder / image).with_suffix(".png") for image in birds((3, 5))]
    for path, mode in zip(paths[:3], ("RGB", "LA", "RGBA"), strict=True):
        Image.open(path).convert(mode).save(path)
    paths[3].unlink()
    test = load_benchmark("cub", tree).test
    for row in range(3):
        np.testing.assert_array_equal(test.evidence(row), expected)
    assert test.evidence(3) is None
    shutil.rmtree(folder)
    assert load_benchmark("cub", tree).test.evidence(0) is None


def test_a_broken_segmentation_is_told_when_it_is_asked_for(tree: Path):
    path = (tree / "CUB_200_2011" / "segmentations" / birds((3, 5))[0]).with_suffix(".png")
    path.write_bytes(path.read_bytes()[:40])
    test = load_benchmark("cub", tree).test
    with pytest.raises(DataLayoutError, match=rf"{path.name}"):
        test.evidence(0)
    assert test.evidence(1) is not None


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("train_test_split.txt", lambda text: text.replace("1 0\n", "1 2\n", 1), "do not fit together: flags '2'"),
        ("train_test_split.txt", lambda text: text.replace("18 1\n", ""), "do not fit together: images '18'"),
        ("images.txt", lambda text: text.replace("_0011_1", "_0012_2", 1), "do not fit together: a file twice"),
        ("images.txt", lambda text: text.replace("001.", "009.", 1), "folders that classes.txt has not: '009.Black_fo"),
        ("images.txt", lambda text: text.replace("_0015_5", "_0019_9", 1), "1 of 6 images of cub are not in"),
        ("images.txt", lambda text: text.replace("2 001", "1 001", 1), r"line 2 of .*images\.txt repeats a number"),
        (
            "classes.txt",
            lambda text: "one\n" + text,
            r"line 1 of .*classes\.txt is not a number followed by a text: 'one'",
        ),
        ("classes.txt", lambda text: "4\n" + text, "is not a number followed by a text: '4'"),
    ],
)
def test_lists_that_contradict_each_other_are_refused(tree: Path, file: str, change, message: str):
    path = tree / "CUB_200_2011" / file
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(DataLayoutError, match=message):
        load_benchmark("cub", tree)


def test_a_missing_list_or_one_in_another_encoding_is_told(tree: Path):
    path = tree / "CUB_200_2011" / "classes.txt"
    path.write_bytes(b"1 001.Fl\xfcgel")
    with pytest.raises(DataLayoutError, match=r"cannot read .*classes\.txt"):
        load_benchmark("cub", tree)
    path.unlink()
    with pytest.raises(DataLayoutError, match=r"cannot read .*classes\.txt"):
        load_benchmark("cub", tree)
