import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


def evidence_messages(folder: Path, rows: Iterable[str]) -> list[tuple[str, str, str]]:
    (folder / "evidence.csv").write_text("image,x1,y1,x2,y2\n" + "\n".join(rows) + "\n")
    findings = check(load_benchmark(f"folder:{folder}"))
    return [(one.severity, one.where, one.message) for one in findings if "evidence" in one.message]


def test_evidence_is_counted(image_tree: Tree):
    names = [
        f"{split}/{kind}/{i}.png" for split in ("train", "val", "test") for kind in ("cat", "dog") for i in range(5)
    ]
    folder = image_tree(names)
    boxes = {"test/cat/0": "0,0,12,10", "test/cat/1": "0,0,1,10", "test/cat/2": "0,0,6,10", "val/dog/0": "3,3,5,5"}
    assert evidence_messages(folder, [f"{name}.png,{box}" for name, box in boxes.items()]) == [
        ("warning", "photos val", "in 9 of 10 images the evidence is not known: " + shown("val", 9)),
        ("warning", "photos test", "in 7 of 10 images the evidence is not known: " + shown("test", 7)),
        (
            "warning",
            "photos test",
            "in 1 of 10 images the evidence is the whole image, so every answer rests on it: 'test/cat/0.png'.",
        ),
        (
            "warning",
            "photos test",
            "in 1 of 10 images the evidence lies outside of the square in the middle, which is what most models see "
            "of an image: 'test/cat/1.png'.",
        ),
        (
            "info",
            "photos val",
            "10 images, 12 x 10 pixels; cat 5, dog 5; evidence in 1 of 10, 3% of an image on average",
        ),
        (
            "info",
            "photos test",
            "10 images, 12 x 10 pixels; cat 5, dog 5; evidence in 3 of 10, 53% of an image on average",
        ),
    ]


def shown(split: str, count: int) -> str:
    left = {"val": ["cat/0", "cat/1", "cat/2", "cat/3", "cat/4"], "test": ["cat/3", "cat/4", "dog/0", "dog/1", "dog/2"]}
    return ", ".join(f"'{split}/{name}.png'" for name in left[split]) + f" and {count - 5} more."


def test_evidence_that_does_not_fit_is_an_error_and_does_not_stop_the_check(folder: Path):
    messages = evidence_messages(folder, ["cat/0.png,0,0,50,50", "cat/1.png,0,0,50,50", "dog/2.png,1,1,5,5"])
    errors = [(where, message) for severity, where, message in messages if severity == "error"]
    assert sum(int(message.split()[1]) for _, message in errors) == 2
    assert "cannot be used: 'cat/" in errors[0][1]
    assert "the box 0, 0, 50, 50 leaves the image of 12 x 10 pixels" in errors[0][1]


def test_an_empty_mask_is_told(image_tree: Tree):
    folder = image_tree(f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(5))
    (folder / "evidence/cat").mkdir(parents=True)
    Image.new("L", (12, 10)).save(folder / "evidence/cat/2.png")
    (message,) = [one for one in check(load_benchmark(f"folder:{folder}")) if "is empty" in one.message]
    assert message.severity == "warning"
    assert message.message == "in 1 of 2 images the evidence is empty, so no answer can rest on it: 'cat/2.png'."
