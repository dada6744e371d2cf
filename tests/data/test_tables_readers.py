import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from vlm_data import load_benchmark
from vlm_data.benchmark import Benchmark
from vlm_data.dataset import UNLABELLED
from vlm_data.errors import CallError, DataLayoutError

Columns = dict[str, list[Any]]
Write = Callable[..., str]
READERS = ("csv", "jsonl", "parquet")


@pytest.fixture
def write(tmp_path: Path, write_image: Callable[..., Path]) -> Write:
    """Write a table in the format of a reader, and the images it names; return what to load."""

    def make(reader: str, columns: Columns, separator: str = "\t") -> str:
        path = tmp_path / f"pets.{reader}"
        for name in set(columns.get("image", columns.get("filepath", []))):
            write_image(tmp_path / name)
        if reader == "csv":
            options = pyarrow.csv.WriteOptions(delimiter=separator)
            pyarrow.csv.write_csv(pa.table(columns), path, options)
        elif reader == "jsonl":
            rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
        else:
            pyarrow.parquet.write_table(pa.table(columns), path)
        return f"{reader}:{path}"

    return make


def pets(n: int = 10) -> Columns:
    """Return n images of each of two classes."""
    return {"image": [f"img/{i}.png" for i in range(2 * n)], "label": ["dog", "cat"] * n}


def split_pets() -> Columns:
    splits = ["train", "train", "train", "train", "val", "validation", "test", "Test", "shift:night", "shift:night"]
    return {**pets(5), "split": splits}


def sizes(benchmark: Benchmark) -> tuple[int, int, int]:
    return len(benchmark.train), len(benchmark.val), len(benchmark.test)


def refusal(spec: str, **options: Any) -> str:
    with pytest.raises(DataLayoutError) as caught:
        load_benchmark(spec, **options)
    return str(caught.value)


@pytest.mark.parametrize("reader", READERS)
def test_labels_and_splits_are_read_as_they_are(write: Write, reader: str):
    benchmark = load_benchmark(write(reader, split_pets()))
    assert (benchmark.name, sizes(benchmark)) == ("pets", (4, 2, 2))
    assert benchmark.class_names == ("cat", "dog")
    assert benchmark.templates == ("a photo of a {c}.",)
    assert benchmark.test.ids == ("img/6.png", "img/7.png")
    assert benchmark.test.labels.tolist() == [1, 0]
    assert benchmark.test.captions == ()
    assert [(one.data, one.group) for one in benchmark.evaluation_sets()] == [("pets", ""), ("pets/night", "natural")]
    assert benchmark.test.image(0).size == (12, 10)


@pytest.mark.parametrize("reader", READERS)
def test_without_splits_each_class_is_drawn_80_10_10(write: Write, reader: str):
    spec = write(reader, pets(20))
    first, again, other = (load_benchmark(spec, seed=seed) for seed in (1, 1, 2))
    assert sizes(first) == (32, 4, 4)
    assert np.bincount(first.test.labels).tolist() == [2, 2]
    assert first.test.ids == again.test.ids != other.test.ids


@pytest.mark.parametrize("reader", READERS)
def test_rows_of_one_image_are_one_sample_with_several_captions(write: Write, reader: str):
    columns = split_pets()
    doubled = {name: [cell for cell in cells for _ in range(2)] for name, cells in columns.items()}
    doubled["caption"] = [f"{'a' if i % 2 else 'the'} {label}" for i, label in enumerate(doubled["label"])]
    benchmark = load_benchmark(write(reader, doubled))
    assert sizes(benchmark) == (4, 2, 2)
    assert benchmark.train.captions[:2] == (("the dog", "a dog"), ("the cat", "a cat"))
    assert benchmark.class_names == ("cat", "dog")


@pytest.mark.parametrize("reader", READERS)
def test_captions_alone_are_retrieval(write: Write, reader: str):
    texts = ["a red dog", "a blue cat", "two owls", "a red dog", "a green bird", "a red dog", "a blue cat"]
    columns = {
        "filepath": [f"img/{i}.png" for i in range(7)],
        "title": texts,
        "split": ["train", "train", "train", "val", "test", "test", "shift:night"],
    }
    benchmark = load_benchmark(write(reader, columns))
    assert benchmark.class_names == ("a blue cat", "a green bird", "a red dog")
    assert benchmark.templates == ("{c}",)
    assert benchmark.train.labels.tolist() == [2, 0, UNLABELLED]
    assert benchmark.val.labels.tolist() == [2]
    assert benchmark.test.labels.tolist() == [1, 2]
    assert benchmark.shifts[0].datasets[0].labels.tolist() == [0]
    assert benchmark.train.captions == (("a red dog",), ("a blue cat",), ("two owls",))


def test_further_captions_of_tested_images_are_no_classes(write: Write):
    columns = {
        "image": ["a.png", "b.png", "b.png", "c.png", "c.png", "d.png", "d.png"],
        "caption": ["second", "other", "second", "first", "second", "second", "first"],
        "split": ["train", "train", "train", "val", "val", "test", "test"],
    }
    benchmark = load_benchmark(write("csv", columns))
    assert benchmark.class_names == ("first", "second")
    assert benchmark.train.labels.tolist() == [1, 1]
    assert (benchmark.val.labels.tolist(), benchmark.test.labels.tolist()) == ([0], [1])


def test_the_published_table_without_split_or_label_is_read(write: Write):
    columns = {"title": [f"a photo of {i}, {i}" for i in range(20)], "filepath": [f"img/{i}.png" for i in range(20)]}
    benchmark = load_benchmark(write("csv", columns))
    assert sizes(benchmark) == (16, 2, 2)
    assert len(benchmark.class_names) == 4
    assert benchmark.test.captions[0][0] == benchmark.class_names[benchmark.test.labels[0]]
    assert set(benchmark.train.labels) == {UNLABELLED}


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_the_separator_is_found_although_cells_hold_the_others(write: Write, separator: str):
    columns = {**split_pets(), "caption": ["red; green, blue\tand, more; 'of' it"] * 10}
    benchmark = load_benchmark(write("csv", columns, separator))
    assert sizes(benchmark) == (4, 2, 2)
    assert benchmark.train.captions[0] == ("red; green, blue\tand, more; 'of' it",)


def test_csv_from_other_programs_is_read(tmp_path: Path, write: Write):
    write("csv", split_pets())
    rows = "".join(f"img/{i}.png;{i};{'dog' if i % 2 else 'Kätzchen'}\r\n" for i in range(10))
    (tmp_path / "pets.csv").write_bytes(("\ufeffImage;width; Label \r\n" + rows).encode())
    assert load_benchmark(f"csv:{tmp_path}/pets.csv").class_names == ("Kätzchen", "dog")


def test_labels_of_csv_stay_text(write: Write):
    columns = {"image": [f"{i}.png" for i in range(9)], "label": ["true", "null", "1e3"] * 3}
    assert load_benchmark(write("csv", columns)).class_names == ("1e3", "null", "true")


@pytest.mark.parametrize("reader", READERS)
def test_whole_numbers_are_classes_in_numeric_order(write: Write, reader: str, tmp_path: Path):
    columns = {**pets(6), "label": [10, 9, 2] * 4}
    assert load_benchmark(write(reader, columns)).class_names == ("class 2", "class 9", "class 10")
    (tmp_path / "classnames.txt").write_text("\n".join(f"name {i}" for i in range(11)))
    benchmark = load_benchmark(write(reader, columns))
    assert benchmark.class_names == ("name 2", "name 9", "name 10")
    assert Counter(np.concatenate([benchmark.train.labels, benchmark.val.labels, benchmark.test.labels]).tolist()) == {
        0: 4,
        1: 4,
        2: 4,
    }


def test_floats_that_are_whole_numbers_are_numbers(write: Write):
    assert load_benchmark(write("parquet", {**pets(3), "label": [1.0, 0.0] * 3})).class_names == ("class 0", "class 1")
    message = refusal(write("parquet", {**pets(3), "label": [1.5, 0.0] * 3}))
    assert "column label of" in message
    assert "Expected text or whole numbers" in message


def test_dictionary_columns_and_lists_of_captions_are_read(write: Write, tmp_path: Path):
    write("parquet", pets(5))
    labels = pa.array(["cat", "dog"] * 5).dictionary_encode()
    captions = [["a", "b"]] * 9 + [["c"]]
    table = pa.table({"image": [f"img/{i}.png" for i in range(10)], "label": labels, "caption": captions})
    pyarrow.parquet.write_table(table, tmp_path / "pets.parquet")
    benchmark = load_benchmark(f"parquet:{tmp_path}/pets.parquet")
    assert benchmark.class_names == ("cat", "dog")
    by_id = dict(zip(benchmark.train.ids, benchmark.train.captions, strict=True))
    by_id |= dict(
        zip(benchmark.val.ids + benchmark.test.ids, benchmark.val.captions + benchmark.test.captions, strict=True)
    )
    assert by_id["img/0.png"] == ("a", "b")
    assert by_id["img/9.png"] == ("c",)


def test_display_names_and_templates_lie_beside_the_table(write: Write, tmp_path: Path):
    (tmp_path / "classnames.txt").write_text("dog\tgolden retriever\ncat\ttabby\n")
    (tmp_path / "templates.txt").write_text("my {c}\n")
    benchmark = load_benchmark(write("jsonl", split_pets()))
    assert (benchmark.class_names, benchmark.templates) == (("tabby", "golden retriever"), ("my {c}",))


def test_image_paths_start_at_the_table_or_at_the_root(write: Write, tmp_path: Path):
    write("csv", split_pets())
    (tmp_path / "lists").mkdir()
    (tmp_path / "pets.csv").rename(tmp_path / "lists" / "pets.csv")
    with pytest.raises(DataLayoutError, match=r"10 of the 10 images in .* do not exist.*--data-root"):
        load_benchmark(f"csv:{tmp_path}/lists/pets.csv")
    assert sizes(load_benchmark("csv:lists/pets.csv", root=tmp_path)) == (4, 2, 2)


def test_columns_that_are_missing_or_doubled(write: Write):
    message = refusal(write("csv", {"file": ["a.png"], "label": ["cat"]}))
    assert (
        "has no image column; it has 'file', 'label'. Expected a column named image, filepath, path or file_name"
        in message
    )
    message = refusal(write("parquet", {"image": ["a.png"], "width": [3]}))
    assert "has no caption or label column; it has 'image', 'width'" in message
    message = refusal(write("jsonl", {"image": ["a.png"], "label": ["cat"], "class": ["cat"]}))
    assert "has 2 columns for the label: 'label', 'class'" in message


@pytest.mark.parametrize("reader", READERS)
def test_tables_that_are_missing_or_empty(write: Write, reader: str, tmp_path: Path):
    with pytest.raises(CallError, match=f"Write {reader}:PATH"):
        load_benchmark(f"{reader}:")
    assert f"table {tmp_path}/none does not exist" in refusal(f"{reader}:{tmp_path}/none")
    assert f"To read class folders write folder:{tmp_path}" in refusal(f"{reader}:{tmp_path}")
    (tmp_path / "none").write_text("")
    assert "is empty; expected a table with one row per image" in refusal(f"{reader}:{tmp_path}/none")


@pytest.mark.parametrize("reader", ["csv", "parquet"])
def test_a_table_without_rows(write: Write, reader: str):
    columns = {"image": pa.array([], pa.string()), "label": pa.array([], pa.string())}
    assert "it has columns but no rows" in refusal(write(reader, columns))


def test_missing_images_are_counted_and_three_are_named(write: Write, tmp_path: Path):
    spec = write("csv", split_pets())
    for i in (1, 3, 5, 7):
        (tmp_path / f"img/{i}.png").unlink()
    assert "4 of the 10 images in" in refusal(spec)
    assert (
        f"do not exist: '{tmp_path}/img/1.png', '{tmp_path}/img/3.png', '{tmp_path}/img/5.png' and 1 more"
        in refusal(spec)
    )


@pytest.mark.parametrize(
    ("reader", "cells"),
    [
        ("csv", ["", "dog", " ", "NaN", "nan"]),
        ("jsonl", [None, "dog", "", " ", None]),
        ("parquet", [float("nan"), 1.0, None, float("nan"), None]),
        ("parquet", [None] * 5),
    ],
)
def test_empty_cells_are_counted_and_three_are_named(write: Write, reader: str, cells: list[Any]):
    message = refusal(write(reader, {"image": [f"{i}.png" for i in range(6)], "label": [*cells, cells[1]]}))
    first = "1, 2, 3, ..." if cells[1] is None else "1, 3, 4, ..."
    assert "column label of" in message
    assert f"is empty or NaN in {6 if cells[1] is None else 4} of 6 rows: {first} (the first is row 1)" in message


def test_an_empty_list_of_captions_is_an_empty_cell(write: Write):
    message = refusal(write("jsonl", {"image": ["a.png", "b.png"], "caption": [["a"], []]}))
    assert "column caption of" in message
    assert "empty or NaN in 1 of 2 rows: 2 (the first" in message


def test_unknown_splits(write: Write):
    message = refusal(write("csv", {**pets(2), "split": ["train", "train", "dev", "shift:"]}))
    assert "unknown split 'dev'. Expected train, val, test or shift:NAME" in message


def test_a_tested_class_without_training_image(write: Write):
    columns = split_pets()
    columns["label"][6] = "owl"
    message = refusal(write("csv", columns))
    assert "test of pets shows classes without a training image: 'owl'" in message
    columns = split_pets()
    columns["label"][9] = "owl"
    assert "shift:night of pets shows classes without a training image: 'owl'" in refusal(write("csv", columns))


def test_no_training_images(write: Write):
    message = refusal(write("csv", {**pets(2), "split": ["test", "test", "val", "val"]}))
    assert "pets has no training images; found only 'test', 'val'" in message


def test_one_label(write: Write):
    assert "has one label, 'cat'. Expected two or more classes" in refusal(
        write("csv", {**pets(2), "label": ["cat"] * 4})
    )


@pytest.mark.parametrize(("column", "cells"), [("label", ["dog", "cat", "dog"]), ("split", ["train", "test", "train"])])
def test_rows_of_one_image_that_contradict_each_other(write: Write, column: str, cells: list[str]):
    columns = {"image": ["a.png", "a.png", "b.png"], "label": ["dog"] * 3, column: cells}
    message = refusal(write("csv", columns))
    assert (
        f"gives image 'a.png' two different values of {column}: {cells[0]!r} and {cells[1]!r} (row 2); 1 images"
        in message
    )


@pytest.mark.parametrize(
    ("reader", "content", "fault"),
    [
        ("csv", b"image\tlabel\na.png\tcat\nb.png\tdog\tred\n", "Expected 2 columns, got 3"),
        ("csv", "image\tlabel\na.png\tgröße\n".encode("latin-1"), "Expected UTF-8 text"),
        (
            "jsonl",
            b'{"image": "a.png", "label": "cat"}\n{"image": "b.png" "label"}\n',
            "line 2: Expecting ',' delimiter",
        ),
        ("jsonl", b'{"image": "a.png", "label": "cat"}\n["b.png"]\n', "line 2 is not an object but list"),
        (
            "jsonl",
            b'{"image": "a.png", "label": "cat"}\n{"image": "b.png", "label": 1}\n',
            "values of one kind per key",
        ),
        ("parquet", b"PAR1 not really", "Expected a whole parquet file"),
    ],
)
def test_broken_tables(tmp_path: Path, reader: str, content: bytes, fault: str):
    (tmp_path / "pets").write_bytes(content)
    message = refusal(f"{reader}:{tmp_path}/pets")
    assert message.startswith(f"cannot read {tmp_path}/pets as ")
    assert fault in message


def test_pictures_inside_parquet_are_refused(tmp_path: Path):
    table = pa.table({"image": [{"bytes": b"x", "path": "a.png"}], "label": ["cat"]})
    pyarrow.parquet.write_table(table, tmp_path / "pets.parquet")
    assert "column image of" in refusal(f"parquet:{tmp_path}/pets.parquet")
