import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_data.errors import VlmDataError
from vlm_data.tables import Predictions, Rationales
from vlm_data.tables.rationales import EMPTY, FLAT, NO_EVIDENCE, OK, STATUSES

META = {"model": "tiny", "data": "digits", "rule": "mass>=0.5"}


def table(n: int = 5, seed: int = 0, meta: dict[str, str] | None = None) -> Rationales:
    rng = np.random.default_rng(seed)
    status = tuple(STATUSES[i] for i in rng.integers(0, len(STATUSES), n))
    mass = np.where([word in (OK, EMPTY) for word in status], rng.random(n), np.nan)
    measures = {"mass": mass, "area": rng.random(n)}
    rational = (mass >= 0.5) & np.array([word == OK for word in status], dtype=bool)
    ids = tuple(f"sample/{i}" for i in range(n))
    return Rationales(
        ids, rng.integers(-1, 3, n), rng.integers(0, 3, n), measures, status, rational, META if meta is None else meta
    )


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(0, 20), seed=st.integers(0, 100))
def test_saving_and_loading_changes_nothing(tmp_path: Path, n: int, seed: int):
    saved = table(n, seed).save(tmp_path / "r.parquet")
    loaded = Rationales.load(tmp_path / "r.parquet")
    assert (loaded.ids, loaded.status, loaded.meta, loaded.n) == (saved.ids, saved.status, saved.meta, n)
    assert (loaded.labels.dtype, loaded.predicted.dtype, loaded.rational.dtype) == (np.int64, np.int64, np.bool_)
    for name in ("labels", "predicted", "rational"):
        assert np.array_equal(getattr(loaded, name), getattr(saved, name))
    assert loaded.measures.keys() == saved.measures.keys()
    for name, values in saved.measures.items():
        assert loaded.measures[name].dtype == np.float64
        assert np.array_equal(loaded.measures[name], values, equal_nan=True)


def test_equal_tables_are_equal_files(tmp_path: Path):
    one = table()
    one.save(tmp_path / "a.parquet")
    measures = {name: one.measures[name] for name in ("area", "mass")}
    meta = dict(reversed(META.items()))
    dataclasses.replace(one, measures=measures, meta=meta).save(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_what_is_undefined_is_null_in_the_file(tmp_path: Path):
    measures = {"mass": np.array([0.75, np.nan])}
    saved = Rationales(("a", "b"), np.array([1, 0]), np.array([1, 1]), measures, (OK, FLAT), np.array([True, False]))
    saved.save(tmp_path / "r.parquet")
    read = pq.read_table(tmp_path / "r.parquet")
    assert read.column_names == ["id", "label", "prediction", "status", "rational", "measure:mass"]
    assert read["measure:mass"].to_pylist() == [0.75, None]


def test_correct_labelled_and_known():
    status = (OK, NO_EVIDENCE, EMPTY, FLAT)
    labels, predicted, none = np.array([0, 1, -1, 2]), np.array([0, 2, -1, 2]), np.zeros(4, dtype=bool)
    rationales = Rationales(("a", "b", "c", "d"), labels, predicted, {}, status, none)
    assert rationales.correct.tolist() == [True, False, False, True]
    assert rationales.labelled.tolist() == [True, True, False, True]
    assert rationales.known.tolist() == [True, False, True, True]
    assert len(rationales) == 4


@pytest.mark.parametrize("status", [NO_EVIDENCE, EMPTY, FLAT])
def test_nothing_is_rational_without_evidence_or_relevance(status: str):
    with pytest.raises(VlmDataError, match="1 rationales are rational without evidence or relevance: 'b'"):
        Rationales(("a", "b"), np.zeros(2, np.int64), np.zeros(2, np.int64), {}, (OK, status), np.array([True, True]))


def test_columns_must_fit_together():
    one, yes = np.zeros(1, np.int64), np.ones(1, dtype=bool)
    with pytest.raises(VlmDataError, match=r"rationales of 1 samples have columns of .*'mass': 2"):
        Rationales(("a",), one, one, {"mass": np.zeros(2)}, (OK,), yes)
    with pytest.raises(VlmDataError, match="contain a sample id twice"):
        Rationales(("a", "a"), np.zeros(2, np.int64), np.zeros(2, np.int64), {}, (OK, OK), np.ones(2, dtype=bool))
    with pytest.raises(VlmDataError, match="have the status 'fine'; expected one of 'ok', 'no-evidence'"):
        Rationales(("a",), one, one, {}, ("fine",), yes)
    with pytest.raises(VlmDataError, match="rational holds int64; expected True or False"):
        Rationales(("a",), one, one, {}, (OK,), one)  # type: ignore[arg-type]


def test_tables_of_another_kind_are_refused(tmp_path: Path):
    path = tmp_path / "p.parquet"
    Predictions(("a",), np.zeros(1, np.int64), np.zeros((1, 2), np.float32)).save(path)
    with pytest.raises(VlmDataError, match="not a table of rationales"):
        Rationales.load(path)
    table().save(path)
    with pytest.raises(VlmDataError, match="not a table of predictions"):
        Predictions.load(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(VlmDataError, match=r"cannot read rationales from .*p\.parquet"):
        Rationales.load(path)
