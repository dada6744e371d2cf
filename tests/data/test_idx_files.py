"""MNIST and FashionMNIST from miniature IDX files, in the layouts that people have them in."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_data import load_benchmark
from vlm_data.controlled import build_settings
from vlm_data.controlled.idx_files import FILES, read_idx
from vlm_data.controlled.objects import SOURCES
from vlm_data.errors import DataLayoutError

IDX_SOURCES = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}
LABELS_OF = {"train": np.arange(40) % 10, "test": np.arange(80) % 10}


def idx(values: np.ndarray) -> bytes:
    shape = b"".join(int(size).to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + shape + values.tobytes()


def write_miniature(folder: Path, *, packed: bool = False, dotted: bool = False) -> dict[str, np.ndarray]:
    """Write four files as their authors do, and return the images of each part."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, images = np.random.default_rng(0), {}
    for part, labels in LABELS_OF.items():
        images[part] = rng.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        for name, values in zip(FILES[part], (images[part], labels.astype(np.uint8)), strict=True):
            spelled = (name.replace("-idx", ".idx") if dotted else name) + (".gz" if packed else "")
            (folder / spelled).write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    return images


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.booleans())
def test_what_is_written_is_read(tmp_path: Path, shape: list[int], packed: bool):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    assert np.array_equal(read_idx(path, len(shape)), values)


@pytest.mark.parametrize("name", IDX_SOURCES)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_a_source_reads_its_files(name: str, packed: bool, dotted: bool, tmp_path: Path):
    images = write_miniature(tmp_path / IDX_SOURCES[name], packed=packed, dotted=dotted)
    objects = SOURCES.load(name).load(tmp_path)
    assert np.array_equal(objects.splits["train"].images, images["train"])
    assert objects.splits["train"].labels.tolist() == LABELS_OF["train"].tolist()
    halves = [objects.splits[split] for split in ("val", "test")]
    assert [len(half.labels) for half in halves] == [40, 40]
    drawn = [image.tobytes() for half in halves for image in half.images]
    assert sorted(drawn) == sorted(image.tobytes() for image in images["test"])
    assert (len(objects.class_names), objects.canvas) == (10, 56)


def test_the_files_may_lie_right_in_the_folder(tmp_path: Path):
    write_miniature(tmp_path)
    assert SOURCES.load("mnist").load(tmp_path).fingerprint == SOURCES.load("mnist").load(tmp_path).fingerprint


def test_names_of_clothes_are_those_of_the_paper(tmp_path: Path):
    write_miniature(tmp_path / "FashionMNIST" / "raw")
    objects = SOURCES.load("fashion-mnist").load(tmp_path)
    assert objects.class_names[0] == "t-shirt" and objects.class_names[-1] == "ankle boot"
    assert objects.templates == ("a photo of a {c}", "the {c}", "an image of a {c}", "{c}")


@pytest.mark.parametrize("name", IDX_SOURCES)
def test_a_setting_is_built_of_them(name: str, tmp_path: Path):
    images = write_miniature(tmp_path / IDX_SOURCES[name])
    last = SOURCES.load(name).load(tmp_path).class_names[-1]
    (folder,) = build_settings(name, tmp_path / "out", root=tmp_path, classes=[last], n=40, val=20, test=20)
    assert folder.name == f"{name}-{last.replace(' ', '-')}-v0.95-s0"
    benchmark = load_benchmark(f"spurious:{folder}")
    assert len(benchmark.train) == 40
    assert benchmark.train.image_size(0) == (56, 56)
    known = {image.tobytes() for image in images["train"]}
    for row in range(5):  # objects keep their pixels
        mask = benchmark.train.evidence(row)
        assert mask is not None
        shown = np.asarray(benchmark.train.image(row))[..., 0][mask].reshape(28, 28)
        assert shown.tobytes() in known


def broken(path: Path, how: str) -> None:
    data = path.read_bytes()
    changed = {
        "cut": data[:-1],
        "long": data + b"x",
        "type": data[:2] + bytes([13]) + data[3:],
        "empty": b"",
        "labels": idx(np.zeros(39, np.uint8)),
        "class": idx(np.full(40, 10, np.uint8)),
    }
    path.write_bytes(changed[how])


@pytest.mark.parametrize(
    ("part", "how", "message"),
    [
        (0, "cut", "says that it holds 40 x 28 x 28 bytes, but holds 31359"),
        (0, "long", "but holds 31361"),
        (0, "type", r"begins with \[0, 0, 13, 3\] instead of \[0, 0, 8, 3\]"),
        (0, "empty", r"begins with \[\]"),
        (1, "labels", "has 40 images, .* 39 labels; expected one label for each"),
        (1, "class", "has the label 10; expected classes from 0 to 9"),
    ],
)
def test_a_damaged_file_is_named(part: int, how: str, message: str, tmp_path: Path):
    write_miniature(tmp_path)
    broken(tmp_path / FILES["train"][part], how)
    with pytest.raises(DataLayoutError, match=message):
        SOURCES.load("mnist").load(tmp_path)


def test_a_damaged_archive_is_named(tmp_path: Path):
    write_miniature(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for data in (path.read_bytes()[:-30], b"no archive", path.read_bytes()[:60] + b"\xff" * 40):
        path.write_bytes(data)
        with pytest.raises(DataLayoutError, match=r"cannot read .*train-images-idx3-ubyte.gz as an IDX file"):
            SOURCES.load("mnist").load(tmp_path)


def test_missing_files_say_where_they_were_looked_for(tmp_path: Path):
    write_miniature(tmp_path / "MNIST" / "raw")
    with pytest.raises(DataLayoutError, match=r"fashion-mnist is not below .*FashionMNIST/raw.*--data-root"):
        SOURCES.load("fashion-mnist").load(tmp_path)
    (tmp_path / "MNIST" / "raw" / FILES["test"][1]).unlink()
    with pytest.raises(DataLayoutError, match=r"raw has no t10k-labels-idx1-ubyte \(or .*gz\)"):
        SOURCES.load("mnist").load(tmp_path)


@pytest.mark.parametrize("name", SOURCES.names())
def test_every_source_says_what_it_is(name: str):
    info = SOURCES.load(name).INFO
    assert info.spec == name and info.summary and info.licence
    assert bool(info.layout) == (name in IDX_SOURCES)
