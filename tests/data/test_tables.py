from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_data.errors import VlmDataError
from vlm_data.tables import Predictions

META = {"model": "tiny", "data": "digits/invert", "alpha": "0.50"}


def table(n: int = 4, classes: int = 3, seed: int = 0, meta: dict[str, str] | None = None) -> Predictions:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    labels = rng.integers(-1, classes, n)
    return Predictions(tuple(f"sample/{i}" for i in range(n)), labels, logits, META if meta is None else meta)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(0, 20), classes=st.integers(1, 6), seed=st.integers(0, 100))
def test_saving_and_loading_changes_nothing(tmp_path: Path, n: int, classes: int, seed: int):
    saved = table(n, classes, seed).save(tmp_path / "p.parquet")
    loaded = Predictions.load(tmp_path / "p.parquet")
    assert (loaded.ids, loaded.meta, len(loaded)) == (saved.ids, saved.meta, n)
    assert (loaded.labels.dtype, loaded.logits.dtype) == (np.int64, np.float32)
    assert np.array_equal(loaded.labels, saved.labels)
    assert np.array_equal(loaded.logits, saved.logits)


def test_equal_tables_are_equal_files(tmp_path: Path):
    table().save(tmp_path / "a.parquet")
    table(meta=dict(reversed(META.items()))).save(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_flipped_byte_is_noticed_or_harmless(tmp_path: Path):
    path, saved = tmp_path / "p.parquet", table()
    whole = saved.save(path) and path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
        try:
            found = Predictions.load(path)
        except VlmDataError:
            noticed += 1
        else:
            assert np.array_equal(found.logits, saved.logits) and np.array_equal(found.labels, saved.labels)
    assert noticed > 50


def test_the_file_speaks_for_itself(tmp_path: Path):
    saved = table().save(tmp_path / "p.parquet")
    read = pq.read_table(tmp_path / "p.parquet")
    assert read.column_names == ["id", "label", "prediction", "confidence", "logits"]
    assert read["prediction"].to_pylist() == saved.predicted.tolist()
    np.testing.assert_allclose(read["confidence"].to_numpy(), saved.confidences, rtol=1e-6)


@given(st.integers(0, 50), st.floats(-1000, 1000, width=32))
def test_probabilities_sum_to_one_and_ignore_a_common_shift(seed: int, shift: float):
    one = table(6, 4, seed)
    moved = Predictions(one.ids, one.labels, one.logits + np.float32(shift))
    np.testing.assert_allclose(moved.probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(moved.probabilities, one.probabilities, atol=1e-4)


def test_answers_of_a_small_table():
    logits = np.array([[0, np.log(3)], [1, 1], [2000, -2000]], dtype=np.float32)
    predictions = Predictions(("a", "b", "c"), np.array([1, 1, -1]), logits)
    assert predictions.predicted.tolist() == [1, 0, 0]
    assert predictions.correct.tolist() == [True, False, False]
    assert predictions.accuracy == pytest.approx(1 / 3)
    np.testing.assert_allclose(predictions.confidences, [0.75, 0.5, 1.0], rtol=1e-6)


def test_columns_must_fit_together():
    with pytest.raises(VlmDataError, match="1 ids, 2 labels, 2 rows of logits"):
        Predictions(("a",), np.zeros(2, np.int64), np.zeros((2, 3), np.float32))


def test_a_sample_counts_once():
    with pytest.raises(VlmDataError, match="contain a sample id twice"):
        Predictions(("a", "a"), np.zeros(2, np.int64), np.zeros((2, 3), np.float32))


def test_a_missing_or_cut_file_is_named(tmp_path: Path):
    path = tmp_path / "p.parquet"
    with pytest.raises(VlmDataError, match=r"cannot read predictions from .*p\.parquet"):
        Predictions.load(path)
    table().save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(VlmDataError, match=r"cannot read predictions from .*p\.parquet"):
        Predictions.load(path)


def test_other_parquet_and_other_versions_are_refused(tmp_path: Path):
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(VlmDataError, match="not a table of predictions"):
        Predictions.load(path)
    header = {"vlm_table": "predictions", "schema_version": "99"}
    pq.write_table(pa.table({"id": ["a"]}).replace_schema_metadata(header), path)
    with pytest.raises(VlmDataError, match="schema version 99; this version reads 1"):
        Predictions.load(path)


def test_groups_are_columns_of_their_own(tmp_path: Path):
    groups = {"year": ("2016", "2017"), "region": ("Asia", "Other")}
    saved = Predictions(("a", "b"), np.zeros(2, dtype=np.int64), np.zeros((2, 2), dtype=np.float32), META, groups)
    saved.save(tmp_path / "p.parquet")
    assert Predictions.load(tmp_path / "p.parquet").groups == groups
    assert pq.read_table(tmp_path / "p.parquet").column_names[-2:] == ["group:region", "group:year"]
    with pytest.raises(VlmDataError, match=r"predictions of 2 samples have groups of \{'year': 1\}"):
        Predictions(saved.ids, saved.labels, saved.logits, META, {"year": ("2016",)})
