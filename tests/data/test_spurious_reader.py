"""Reading controlled settings, and writing them beside others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vlm_data import load_benchmark
from vlm_data.benchmark import Benchmark
from vlm_data.checking import check
from vlm_data.controlled import build_settings, load_setting, setting_of
from vlm_data.controlled.setting import Samples, load_samples
from vlm_data.controlled.writing import write_setting
from vlm_data.dataset import ArrayDataset, FileDataset
from vlm_data.errors import CallError, DataLayoutError, UnreadableImageError, VlmDataError, VlmError
from vlm_data.loading import evaluation_batches
from vlm_data.preprocess import Preprocess
from vlm_data.tables import Regions

SIZES: dict[str, Any] = {"n": 40, "val": 20, "test": 20}


@pytest.fixture
def setting(digit_setting: Path, tmp_path: Path) -> Path:
    """A copy of the small setting that may be damaged."""
    shutil.copytree(digit_setting.parent, tmp_path / "grid")
    return tmp_path / "grid" / digit_setting.name


def read(folder: Path) -> Benchmark:
    return load_benchmark(f"spurious:{folder}")


def change(path: Path, **columns: Callable[[pa.Table], Any]) -> None:
    table = pq.read_table(path)
    for name, make in columns.items():
        table = table.set_column(table.column_names.index(name), name, make(table))
    pq.write_table(table, path)


def test_train_has_the_tie_and_the_others_have_none(digit_setting: Path):
    benchmark = read(digit_setting)
    for data, tied in ((benchmark.train, True), (benchmark.val, False), (benchmark.test, False)):
        feature = np.array(data.groups["feature"])
        assert set(feature) == {"with", "without"}
        nine = data.labels == 9
        shares = (feature[nine] == "with").mean(), (feature[~nine] == "with").mean()
        assert shares[0] > 0.9 and shares[1] < 0.1 if tied else shares == (0.5, 0.5)
    assert [len(data) for data in (benchmark.train, benchmark.val, benchmark.test)] == [200, 40, 60]
    assert benchmark.templates == ("a photo of the number {c}", "the digit {c}", "an image of a {c}", "{c}")
    assert all(benchmark.train.captions) and not benchmark.val.captions and not benchmark.test.captions


def test_groups_say_whether_the_feature_is_there(digit_setting: Path):
    for data in (read(digit_setting).train, read(digit_setting).test):
        for row, word in enumerate(data.groups["feature"]):
            red = (np.asarray(data.image(row)) == (255, 0, 0)).all(axis=2)
            assert (red.sum() == 256) == (word == "with")


def test_evidence_is_the_quadrant_of_the_object(digit_setting: Path):
    data = read(digit_setting).test
    for row in range(len(data)):
        mask, pixels = data.evidence(row), np.asarray(data.image(row)).astype(int)
        assert mask is not None and mask.sum() == 256
        ink = (np.ptp(pixels, axis=2) == 0) & (pixels[..., 0] > 0)
        assert ink.any() and not (ink & ~mask).any()


def test_regions_belong_to_the_images(digit_setting: Path):
    benchmark = read(digit_setting)
    assert benchmark.regions == load_setting(digit_setting).regions
    regions = Regions.load(load_setting(digit_setting).regions)
    for data in (benchmark.train, benchmark.val, benchmark.test):
        assert np.bincount(regions.rows_of(data.ids) + 1)[1:].tolist() == [4] * len(data)


def test_small_canvases_are_held_in_memory_and_large_ones_are_files(setting: Path, tmp_path: Path):
    assert isinstance(read(setting).train, ArrayDataset)
    (large,) = build_settings("digits", tmp_path / "large", classes=["nine"], canvas=112, **SIZES)
    data = read(large).train
    assert isinstance(data, FileDataset) and data.image_size(0) == (112, 112)
    mask = data.evidence(0)
    assert mask is not None and mask.sum() == 56 * 56


def test_images_of_no_evidence_have_no_masks(setting: Path):
    regions = Regions.load(setting / "regions.parquet")
    regions.replace(labels=np.full(len(regions), -1)).save(setting / "regions.parquet")
    assert read(setting).test.evidence(0) is None


def test_it_makes_batches_and_is_whole(digit_setting: Path):
    batch = next(iter(evaluation_batches(read(digit_setting).test, Preprocess(32), 8)))
    assert tuple(batch.images.shape) == (8, 3, 32, 32)
    assert [found.message for found in check(read(digit_setting)) if found.severity == "error"] == []


def test_a_folder_of_settings_names_one_of_them(digit_setting: Path):
    with pytest.raises(
        DataLayoutError, match=r"has no setting.json.* holds 1 .*write for example .*digits-nine-v0.95-s0"
    ):
        read(digit_setting.parent)


def test_the_setting_of_a_run_is_found_by_its_data(digit_setting: Path):
    assert setting_of(f"spurious:{digit_setting}") == load_setting(digit_setting)
    assert setting_of(f"spurious:{digit_setting.name}", digit_setting.parent).spurious_class == "nine"
    with pytest.raises(CallError, match="'digits' is no controlled setting"):
        setting_of("digits")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "does not describe a controlled setting"),
        ("[]", "does not describe a controlled setting"),
        ('{"format": "vlm controlled setting 9"}', "its format is 'vlm controlled setting 9'"),
        ('{"format": "vlm controlled setting 1"}', "'name'"),
    ],
)
def test_a_damaged_description_is_told(setting: Path, text: str, message: str):
    (setting / "setting.json").write_text(text)
    with pytest.raises(VlmDataError, match=message):
        read(setting)


def test_a_class_that_is_none_is_told(setting: Path):
    written = json.loads((setting / "setting.json").read_text())
    (setting / "setting.json").write_text(json.dumps(written | {"spurious_class": "ten"}))
    with pytest.raises(VlmDataError, match="'ten' is not among its classes"):
        read(setting)


def test_a_picture_that_is_gone_or_another_is_named(setting: Path):
    path = setting.parent / "images" / "test" / "00003.png"
    Image.new("RGB", (20, 32)).save(path)
    with pytest.raises(DataLayoutError, match=r"00003.png has 20 x 32 pixels; expected 32 x 32"):
        read(setting)
    path.unlink()
    with pytest.raises(UnreadableImageError, match=r"cannot decode .*00003.png"):
        read(setting)


@pytest.mark.parametrize("name", ["samples.parquet", "regions.parquet"])
def test_a_missing_or_cut_table_is_named(setting: Path, name: str):
    data = (setting / name).read_bytes()
    (setting / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(VlmDataError, match=f"cannot read .*{name}"):
        read(setting)
    (setting / name).unlink()
    with pytest.raises(VlmDataError, match=f"cannot read .*{name}"):
        read(setting)


def test_files_of_different_settings_are_refused(setting: Path, tmp_path: Path):
    Regions(("other/1",), np.array([[0, 0, 1, 1]]), labels=np.array([0])).save(setting / "regions.parquet")
    with pytest.raises(DataLayoutError, match="has regions of other images than"):
        read(setting)


def test_a_split_without_images_is_refused(setting: Path):
    change(setting / "samples.parquet", split=lambda table: pa.array(["train"] * len(table)))
    with pytest.raises(DataLayoutError, match="has no val images"):
        read(setting)


def test_samples_fit_together():
    labels, feature = np.zeros(2, np.int64), np.zeros(2, bool)
    with pytest.raises(VlmDataError, match="samples contain an id twice"):
        Samples(("a", "a"), ("train", "train"), labels, ("a", "b"), ((), ()), feature)
    with pytest.raises(VlmDataError, match="'captions': 1"):
        Samples(("a", "b"), ("train", "train"), labels, ("a", "b"), ((),), feature)


def test_what_is_written_is_read(digit_setting: Path, tmp_path: Path):
    setting, samples = load_setting(digit_setting), load_samples(load_setting(digit_setting))
    write_setting(tmp_path, setting, samples, Regions.load(setting.regions))
    for path in digit_setting.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_settings_are_added_to_those_of_the_same_images(tmp_path: Path):
    (one,) = build_settings("digits", tmp_path, classes=["nine"], **SIZES)
    before = (tmp_path / "images" / "train" / "00000.png").stat().st_mtime_ns
    (two,) = build_settings("digits", tmp_path, classes=["one"], values=[0.7], **SIZES)
    assert one.is_dir() and two.name == "digits-one-v0.7-s0"
    assert (tmp_path / "images" / "train" / "00000.png").stat().st_mtime_ns == before
    assert read(one).test.fingerprint == read(two).test.fingerprint


def test_nothing_is_overwritten(tmp_path: Path):
    build_settings("digits", tmp_path, classes=["nine"], **SIZES)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for changes, message in [
        ({}, r"s0 is there already; .*replace it with --overwrite"),
        ({"feature": "blue disc", "seeds": [1]}, "made in another way than these need"),
        ({"n": 60, "seeds": [1]}, "made in another way"),
    ]:
        with pytest.raises(CallError, match=message):
            build_settings("digits", tmp_path, classes=["nine"], **{**SIZES, **changes})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_overwriting_replaces_settings_and_their_images(tmp_path: Path):
    (one,) = build_settings("digits", tmp_path, classes=["nine"], **SIZES)
    build_settings("digits", tmp_path, classes=["nine"], feature="blue disc", overwrite=True, **SIZES)
    assert load_setting(one).feature == "blue disc"
    with pytest.raises(CallError, match=r"has 1 settings whose images would be replaced: 'digits-nine-v0.95-s0'"):
        build_settings("digits", tmp_path, classes=["one"], overwrite=True, **SIZES)


def test_the_data_of_others_is_never_replaced(tmp_path: Path):
    (tmp_path / "digits-nine-v0.95-s0").mkdir()
    with pytest.raises(CallError, match="is there already; expected a new name, so that nothing is lost"):
        build_settings("digits", tmp_path, classes=["nine"], overwrite=True, **SIZES)
    (tmp_path / "images").mkdir()
    with pytest.raises(CallError, match=r"images is there already"):
        build_settings("digits", tmp_path, classes=["one"], overwrite=True, **SIZES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits-nine-v0.95-s0", "images"]


def test_a_build_that_fails_half_way_leaves_nothing(tmp_path: Path):
    def stop(stage: str, done: int, _total: int) -> None:
        if stage == "pictures drawn" and done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_settings("digits", tmp_path / "out", classes=["nine"], progress=stop, **SIZES)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(VlmError, match="out"):
        build_settings("digits", tmp_path / "out", classes=["nine"], **SIZES)
