"""Published data sets in class folders or with MATLAB annotations, read from miniatures."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from specimens.published import PUBLISHED, write_classes
from vlm_data import load_benchmark
from vlm_data.benchmark import Benchmark
from vlm_data.datasets.stanfordcars import validation_rows
from vlm_data.errors import DataLayoutError


def made(name: str, root: Path) -> Benchmark:
    PUBLISHED[name](root)
    return load_benchmark(name, root)


def sizes(benchmark: Benchmark) -> tuple[int, int, int]:
    return len(benchmark.train), len(benchmark.val), len(benchmark.test)


def test_caltech101_is_split_60_20_20_without_its_background(tmp_path: Path):
    benchmark = made("caltech101", tmp_path)
    assert benchmark.class_names == ("centered face", "side of a car", "yin and yang symbol")
    assert sizes(benchmark) == (18, 6, 6) and np.bincount(benchmark.test.labels).tolist() == [2, 2, 2]
    assert benchmark.notes == (f"3 of the 101 classes are in {tmp_path}/caltech-101/101_ObjectCategories.",)
    assert len(benchmark.templates) == 34
    assert {"a origami {c}.", "the origami {c}.", "art of the {c}.", "the {c} in a video game."} <= set(
        benchmark.templates
    )
    assert load_benchmark("caltech101", tmp_path, seed=1).test.ids != benchmark.test.ids


def test_caltech101_may_be_prepared(tmp_path: Path):
    for split in ("train", "val", "test"):
        write_classes(tmp_path / "caltech101" / split, ["Faces_easy", "yin_yang"], 3, "jpg")
    benchmark = load_benchmark("caltech101", tmp_path)
    assert sizes(benchmark) == (6, 6, 6) and benchmark.test.ids[0] == "test/Faces_easy/Faces_easy_0.jpg"
    write_classes(tmp_path / "caltech101" / "test", ["wrench"], 1, "jpg")
    with pytest.raises(DataLayoutError, match="test of caltech101 shows classes without a training image: 'wrench'"):
        load_benchmark("caltech101", tmp_path)
    write_classes(tmp_path / "caltech101" / "test", ["hammer"], 1, "jpg")
    with pytest.raises(DataLayoutError, match=r"test has folders that are no classes: 'hammer'\. Expected 'Faces'"):
        load_benchmark("caltech101", tmp_path)
    shutil.rmtree(tmp_path / "caltech101" / "train")
    with pytest.raises(DataLayoutError, match="caltech101 has no training images"):
        load_benchmark("caltech101", tmp_path)


def test_flowers102_has_its_official_splits(tmp_path: Path):
    benchmark = made("flowers102", tmp_path)
    assert sizes(benchmark) == (102, 102, 36)
    assert benchmark.train.labels.tolist() == list(range(102))
    assert benchmark.test.ids[0] == "jpg/image_00205.jpg" and benchmark.test.labels[0] == 0
    assert benchmark.class_names[0] == "pink primrose" and len(benchmark.class_names) == 102
    (tmp_path / "flowers102" / "setid.mat").write_bytes(b"no MATLAB file")
    with pytest.raises(DataLayoutError, match=r"cannot read trnid, valid, tstid from .*setid\.mat"):
        load_benchmark("flowers102", tmp_path)


def test_flowers102_may_be_prepared_by_number_or_name(tmp_path: Path):
    for split in ("train", "val", "test"):
        write_classes(tmp_path / "flowers-102" / split, ["102", "canterbury bells"], 2, "jpg")
    benchmark = load_benchmark("flowers102", tmp_path)
    assert benchmark.class_names == ("canterbury bells", "blackberry lily")
    assert benchmark.test.labels.tolist() == [0, 0, 1, 1]


def test_stanfordcars_has_the_published_validation_split(tmp_path: Path):
    benchmark = made("stanfordcars", tmp_path)
    assert sizes(benchmark) == (24, 6, 6)
    assert benchmark.class_names[1] == "Ram C-V Cargo Van Minivan 2012"
    assert benchmark.test.labels.tolist() == [0, 1, 2] * 2
    assert benchmark.templates[4] == "a photo of my clean {c}." and benchmark.templates[7] == "i love my {c}!"
    kept, held_out = train_test_split(np.arange(8144), test_size=0.2, random_state=10)
    assert validation_rows(8144) == held_out.tolist() and (len(kept), len(held_out)) == (6515, 1629)
    assert load_benchmark("stanfordcars", tmp_path, seed=3).val.ids == benchmark.val.ids


def test_stanfordcars_may_be_prepared(tmp_path: Path):
    for split in ("train", "val", "test"):
        write_classes(tmp_path / "StanfordCars" / split, ["Ram C-V Cargo Van Minivan 2012", "smart fortwo"], 2, "jpg")
    assert load_benchmark("stanfordcars", tmp_path).class_names == ("Ram C-V Cargo Van Minivan 2012", "smart fortwo")


def test_patchcamelyon_and_sst2_have_their_names_and_prompts(tmp_path: Path):
    patches, reviews = made("patchcamelyon", tmp_path), made("sst2", tmp_path)
    assert patches.class_names == ("lymph node", "lymph node containing metastatic tumor tissue")
    assert patches.templates == ("this is a photo of {c}",)
    assert reviews.class_names == ("negative", "positive") and reviews.templates == ("a {c} review of a movie.",)
    assert sizes(patches) == sizes(reviews) == (12, 12, 12)
    assert reviews.val.ids[0] == "val/negative/negative_0.png"


@pytest.mark.parametrize(
    ("name", "path"),
    [("stanfordcars", "stanford_cars/cars_test/00001.jpg"), ("flowers102", "flowers102/jpg/image_00007.jpg")],
)
def test_annotated_files_that_are_not_there_are_named(tmp_path: Path, name: str, path: str):
    made(name, tmp_path)
    (tmp_path / path).unlink()
    with pytest.raises(DataLayoutError, match=rf"1 of \d+ images of {name} are not in .*: '{Path(path).name}'\."):
        load_benchmark(name, tmp_path)


def test_a_missing_file_of_names_is_told(tmp_path: Path):
    made("stanfordcars", tmp_path)
    (tmp_path / "stanford_cars" / "devkit" / "cars_meta.mat").unlink()
    with pytest.raises(DataLayoutError, match=r"cannot read class_names from .*cars_meta\.mat"):
        load_benchmark("stanfordcars", tmp_path)
