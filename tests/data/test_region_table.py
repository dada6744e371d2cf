"""The table of regions: what is saved is what is loaded, and what cannot be a region is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_data.errors import VlmDataError
from vlm_data.tables import Predictions, Regions

OPTIONAL = ("embeddings", "logits", "labels", "spurious", "clusters")


def table(k: int = 5, seed: int = 0, leave_out: tuple[str, ...] = (), meta: dict[str, str] | None = None) -> Regions:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 20, (k, 2))
    rows = rng.normal(size=(k, 3))
    columns: dict[str, Any] = {
        "embeddings": (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
        "logits": rng.normal(size=(k, 4)).astype(np.float32),
        "labels": rng.integers(-1, 4, k),
        "contents": tuple(rng.choice(["nine", "empty", ""], k).tolist()),
        "spurious": rng.random(k) < 0.5,
        "clusters": rng.integers(-1, 3, k),
    }
    images = tuple(f"image/{i}" for i in rng.integers(0, 3, k))
    boxes = np.hstack([corner, corner + rng.uniform(1, 9, (k, 2))])
    kept = {name: values for name, values in columns.items() if name not in leave_out}
    return Regions(images, boxes, **kept, meta={"proposer": "grid:2x2", "data": "digits"} if meta is None else meta)


def assert_same(one: Regions, other: Regions):
    assert (one.image_ids, one.contents, one.meta) == (other.image_ids, other.contents, other.meta)
    assert np.array_equal(one.boxes, other.boxes)
    for name in OPTIONAL:
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        assert a is None or (a.dtype == b.dtype and np.array_equal(a, b))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(k=st.integers(0, 12), seed=st.integers(0, 50), leave_out=st.sets(st.sampled_from([*OPTIONAL, "contents"])))
def test_saving_and_loading_changes_nothing(tmp_path: Path, k: int, seed: int, leave_out: set[str]):
    saved = table(k, seed, tuple(leave_out)).save(tmp_path / "r.parquet")
    assert len(saved) == k
    assert_same(Regions.load(tmp_path / "r.parquet"), saved)


def test_equal_tables_are_equal_files(tmp_path: Path):
    saved = table().save(tmp_path / "a.parquet")
    saved.replace(meta=dict(reversed(list(saved.meta.items())))).save(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_flipped_byte_is_noticed_or_harmless(tmp_path: Path):
    path, saved = tmp_path / "r.parquet", table()
    saved.save(path)
    whole, noticed = path.read_bytes(), 0
    for position in range(0, len(whole), 5):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
        try:
            found = Regions.load(path)
        except VlmDataError:
            noticed += 1
        else:
            assert_same(found.replace(meta=saved.meta), saved)
    assert noticed > 50


@given(seed=st.integers(0, 50), ids=st.permutations([f"image/{i}" for i in range(4)]))
def test_rows_of_finds_the_image_of_every_region(seed: int, ids: list[str]):
    regions, known = table(8, seed), ids[:2]
    for name, row in zip(regions.image_ids, regions.rows_of(known).tolist(), strict=True):
        assert (row == -1 and name not in known) or known[row] == name


def test_selecting_takes_every_column_along():
    whole = table(6)
    part = whole.select([4, 0, 4])
    assert part.image_ids == (whole.image_ids[4], whole.image_ids[0], whole.image_ids[4])
    assert part.contents == (whole.contents[4], whole.contents[0], whole.contents[4])
    for name in ("boxes", *OPTIONAL):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[[4, 0, 4]])
    assert whole.labels is not None
    assert_same(whole.select(whole.labels > 0), whole.select(np.flatnonzero(whole.labels > 0)))
    assert len(whole.select([])) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((3, 4))}, r"boxes of 5 regions have the shape \(3, 4\); expected \(5, 4\)"),
        ({"embeddings": np.zeros((5, 0))}, r"embeddings of 5 regions have the shape \(5, 0\); expected \(5, d\)"),
        ({"logits": np.zeros(5)}, r"logits of 5 regions have the shape \(5,\); expected \(5, c\)"),
        ({"labels": np.zeros(4, np.int64)}, r"labels of 5 regions have the shape \(4,\); expected \(5,\)"),
        ({"contents": ("nine",)}, "5 regions have 1 contents; expected one each"),
        ({"clusters": np.array([0, 1, -2, 0, 0])}, "clusters of region 2 .* are -2; expected the id of a cluster"),
        ({"labels": np.array([0, 1, 2, 3, -7])}, "labels of region 4 .* are -7; expected the index of a class"),
        ({"labels": np.array([0, 1, np.nan, 3, 4])}, "labels of regions hold float64; expected int64"),
        ({"embeddings": np.ones((5, 3))}, "embeddings of region 0 .*a vector of length one"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(VlmDataError, match=message):
        table().replace(**changes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["boxes", "embeddings", "logits"])
def test_a_number_that_is_not_finite_is_refused_with_its_region(name: str, value: float):
    broken = getattr(table(), name).copy()
    broken[3, 1] = value
    with pytest.raises(VlmDataError, match=rf"{name} of region 3 \(image 'image/\d'\) .*1 of 5 regions are wrong"):
        table().replace(**{name: broken})


@pytest.mark.parametrize("box", [[4, 0, 4, 9], [0, 9, 5, 3]])
def test_a_box_without_an_area_is_refused(box: list[float]):
    with pytest.raises(VlmDataError, match=r"boxes of region 1 .*expected x1 < x2 and y1 < y2"):
        Regions(("a", "a"), np.array([[0, 0, 1, 1], box]))


def test_another_table_is_refused(tmp_path: Path):
    path = tmp_path / "t.parquet"
    Predictions(("a",), np.zeros(1, np.int64), np.zeros((1, 2), np.float32)).save(path)
    with pytest.raises(VlmDataError, match="not a table of regions"):
        Regions.load(path)
    header = {"vlm_table": "regions", "schema_version": "1", "meta": "{}"}
    pq.write_table(pa.table({"image_id": ["a"]}).replace_schema_metadata(header), path)
    with pytest.raises(VlmDataError, match="says that it holds regions, but it does not"):
        Regions.load(path)


def test_what_is_wrong_in_a_file_is_told_with_its_name(tmp_path: Path):
    path = tmp_path / "t.parquet"
    table().replace(spurious=None).save(path)
    read = pq.read_table(path)
    flags = pa.array(["True"] * len(read))
    pq.write_table(read.append_column("spurious", flags).replace_schema_metadata(read.schema.metadata), path)
    with pytest.raises(VlmDataError, match=r"t\.parquet: spurious of regions hold object; expected bool"):
        Regions.load(path)
