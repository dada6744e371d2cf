import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from vlm_data import load_benchmark
from vlm_data.benchmark import Benchmark
from vlm_data.checking import Finding, check
from vlm_data.dataset import ArrayDataset

Tree = Callable[[Iterable[str]], Path]


@pytest.fixture
def folder(image_tree: Tree) -> Path:
    """Two classes of 30 images each with a shift, 24 / 3 / 3 after the draw."""
    names = [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(30)]
    return image_tree([*names, *(f"shifts/night/cat/{i}.png" for i in range(6))])


def found(folder: Path, severity: str) -> list[Finding]:
    return [finding for finding in check(load_benchmark(f"folder:{folder}")) if finding.severity == severity]


def test_a_whole_benchmark_has_a_summary_of_every_data_set_and_no_error(folder: Path):
    assert found(folder, "error") == []
    assert [(finding.where, finding.message) for finding in found(folder, "info")] == [
        ("photos train", "48 images, 12 x 10 pixels; cat 24, dog 24"),
        ("photos val", "6 images, 12 x 10 pixels; cat 3, dog 3"),
        ("photos test", "6 images, 12 x 10 pixels; cat 3, dog 3"),
        ("photos/night", "6 images, 12 x 10 pixels; cat 6, dog 0"),
    ]


def test_tiny_classes_are_named_where_they_are(folder: Path):
    messages = [(one.where, one.message) for one in found(folder, "warning")]
    few = "2 of 2 classes have fewer than 5 images: 'cat', 'dog'."
    assert messages == [("photos val", few), ("photos test", few)]


def test_unreadable_files_are_counted_and_named(folder: Path):
    paths = load_benchmark(f"folder:{folder}").train.paths  # type: ignore[attr-defined]
    for path in paths[:7]:
        path.write_bytes(path.read_bytes()[:40])
    (error,) = found(folder, "error")
    assert error.where == "photos train"
    assert error.message.startswith("7 of 48 images cannot be decoded: 'cat/")
    assert error.message.endswith("and 2 more.")


def test_images_in_two_splits_are_found_by_their_content(folder: Path):
    benchmark = load_benchmark(f"folder:{folder}")
    train, test = benchmark.train.paths[0], benchmark.test.paths[0]  # type: ignore[attr-defined]
    night = folder / "shifts/night/cat/0.png"
    shutil.copy(train, test)
    shutil.copy(train, night)
    ids = [path.relative_to(folder).as_posix() for path in (train, test, night)]
    copies = {(one.where, one.message) for one in found(folder, "warning") if "also in" in one.message}
    assert copies == {
        ("photos test", f"1 of 6 images are also in photos train: '{ids[1]} = {ids[0]}'."),
        ("photos/night", f"1 of 6 images are also in photos train: '{ids[2]} = {ids[0]}'."),
        ("photos/night", f"1 of 6 images are also in photos test: '{ids[2]} = {ids[1]}'."),
    }


def test_one_image_with_two_labels_is_found(folder: Path):
    shutil.copy(folder / "cat/0.png", folder / "dog/0.png")
    messages = [one.message for one in found(folder, "warning") if "different labels" in one.message]
    assert len(messages) == 1
    assert "'cat/0.png'" in messages[0]
    assert "'dog/0.png'" in messages[0]


def arrays(split: str, n: int, seed: int = 0) -> ArrayDataset:
    images = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return ArrayDataset("pets", split, tuple(f"{split}/{i}" for i in range(n)), np.arange(n) % 2, images)


def test_class_names_that_are_equal_or_nearly_so_are_found():
    splits = [arrays(split, 10, seed) for seed, split in enumerate(("train", "val", "test"))]
    findings = check(Benchmark("pets", ("cat", "cat", "Dog", "dog "), ("{c}",), *splits))
    messages = [(one.severity, one.message) for one in findings if one.where == "pets"]
    assert messages == [
        ("error", "class names are used by several classes: 'cat'. No prompt can tell these apart."),
        ("warning", "class names differ in capitals or spaces only: 'dog'."),
    ]


def test_arrays_are_compared_by_their_pixels_and_an_empty_split_is_an_error():
    findings = check(
        Benchmark("pets", ("cat", "dog"), ("{c}",), arrays("train", 12), arrays("val", 0), arrays("test", 12))
    )
    assert [(one.where, one.message) for one in findings if one.severity == "error"] == [("pets val", "no images.")]
    assert any(one.where == "pets test" and "12 of 12 images are also in pets train" in one.message for one in findings)


def test_captions_as_classes_are_counted_but_not_called_tiny(tmp_path: Path, write_image: Callable[..., Path]):
    for i in range(20):
        write_image(tmp_path / f"{i}.png", size=(8 + i, 9))
    rows = "".join(f"{i}.png\ta photo of {i}\n" for i in range(20))
    (tmp_path / "pairs.csv").write_text("filepath\ttitle\n" + rows)
    calls: list[tuple[str, int, int]] = []
    findings = check(load_benchmark(f"csv:{tmp_path}/pairs.csv"), lambda *call: calls.append(call))
    assert [one.severity for one in findings] == ["info"] * 3
    assert findings[0].message.startswith("16 images, ")
    assert findings[0].message.endswith(" x 9 pixels; 16 without a label; 16 captions")
    assert calls[-1] == ("images checked", 20, 20)


def test_findings_come_worst_first():
    findings = check(Benchmark("pets", ("a", "a"), ("{c}",), arrays("train", 2), arrays("val", 2), arrays("test", 2)))
    order = [("error", "warning", "info").index(one.severity) for one in findings]
    assert order == sorted(order)
    assert set(order) == {0, 1, 2}
