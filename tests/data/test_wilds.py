"""The data sets of WILDS: official splits and groups, read from miniatures."""

from pathlib import Path

import pytest

from specimens.published import write_fmow, write_iwildcam
from vlm_data import load_benchmark
from vlm_data.errors import DataLayoutError
from vlm_data.text import prompts


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_fmow(tmp_path)
    write_iwildcam(tmp_path)
    return tmp_path


def rows_of(ids: tuple[str, ...]) -> list[int]:
    return [int("".join(filter(str.isdecimal, name))) for name in ids]


def test_splits_of_fmow_are_those_of_wilds(tree: Path):
    benchmark = load_benchmark("fmow", tree)
    (ood,) = benchmark.shifts
    assert rows_of(benchmark.train.ids) == [6, 12, 18]  # image 0 is sequestered
    assert rows_of(benchmark.val.ids) == [1, 7, 13, 19]
    assert rows_of(benchmark.test.ids) == [2, 8, 14, 20]
    assert rows_of(ood.datasets[0].ids) == [3, 5, 9, 11, 15, 17, 21, 23]  # from 2016 on, without 2013 to 2015
    assert [benchmark.class_names[label] for label in benchmark.test.labels] == [
        "airport",
        "amusement_park",
        "zoo",
        "dam",
    ]
    assert ood.datasets[0].groups == {
        "region": ("Europe", "Other", "Africa", "Europe", "Other", "Africa", "Europe", "Other"),
        "year": ("2016", "2017") * 4,
    }
    assert benchmark.metrics == ("worst_region_accuracy", "worst_year_accuracy")


def test_prompts_of_fmow_are_the_published_ones(tree: Path):
    benchmark = load_benchmark("fmow", tree)
    (park,) = prompts(["amusement_park"], benchmark.templates)
    assert len(park) == 16
    assert park[:3] == [
        "satellite photo of a amusement_park.",
        "aerial photo of a amusement_park.",
        "satellite photo of an amusement park.",
    ]
    assert park[8] == "satellite photo of a amusement_park in the americas." and park[-1] == "amusement_park."


def test_splits_of_iwildcam_are_those_of_wilds(tree: Path):
    benchmark = load_benchmark("iwildcam", tree)
    assert rows_of(benchmark.test.ids) == [2, 7, 12, 17, 22, 27, 32, 37]
    assert rows_of(benchmark.shifts[0].datasets[0].ids) == [4, 9, 14, 19, 24, 29, 34, 39]
    assert benchmark.test.labels.tolist() == [0, 6, 7, 181] * 2
    assert len(benchmark.class_names) == 182 and benchmark.class_names[1] == "white-lipped peccary"
    assert benchmark.notes[0].startswith("4 class names stand for several classes: 'lowland paca'")


@pytest.mark.parametrize(
    ("name", "path", "old", "new", "said"),
    [
        ("fmow", "fmow_v1.1/rgb_metadata.csv", "zoo", "zebra", r"unknown categories: 'zebra'\. Expected the 62"),
        ("fmow", "fmow_v1.1/rgb_metadata.csv", "2016-05", "May", "row 3 of .* has the timestamp 'May-01T10"),
        (
            "fmow",
            "fmow_v1.1/rgb_metadata.csv",
            "timestamp",
            "time",
            "cannot read .*rgb_metadata.csv: .*columns split, cat",
        ),
        ("fmow", "fmow_v1.1/country_code_mapping.csv", "region", "area", "cannot read .*country_code_mapping.csv"),
        ("fmow", "fmow_v1.1/rgb_metadata.csv", "val,", "vla,", r"the table of fmow has no images for 'val'\."),
        ("iwildcam", "iwildcam_v2.0/metadata.csv", "181", "182", "labels outside 0 to 181: '182'"),
        (
            "iwildcam",
            "iwildcam_v2.0/metadata.csv",
            "7.jpg",
            "x.jpg",
            "4 of 32 images of iwildcam are not in .*: 'x.jpg'",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tree: Path, name: str, path: str, old: str, new: str, said: str):
    (tree / path).write_text((tree / path).read_text().replace(old, new))
    with pytest.raises(DataLayoutError, match=said):
        load_benchmark(name, tree)
