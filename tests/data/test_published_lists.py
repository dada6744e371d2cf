"""Flat JSON lists of labels, predictions and rationales (tests/golden/rationality/README.md)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlm_data.dataset import ArrayDataset
from vlm_data.errors import VlmDataError
from vlm_data.tables import Rationales
from vlm_data.tables.published_lists import (
    in_order,
    read_class_list,
    read_published_rationales,
    read_rationale_list,
    write_published_rationales,
)
from vlm_data.tables.rationales import EMPTY, FLAT, NO_EVIDENCE, OK

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/rationality/pt_ir_small.json").read_text())


def images(labels: list[int]) -> ArrayDataset:
    ids = tuple(f"{i:03d}.jpg" for i in range(len(labels)))
    return ArrayDataset("birds", "test", ids, np.array(labels), np.zeros((len(labels), 2, 2, 3), dtype=np.uint8))


@pytest.fixture
def dataset() -> ArrayDataset:
    return images(GOLDEN["annotations"])


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, Path]:
    """Files as the published programs write them."""
    method = GOLDEN["methods"]["zs"]
    content = {"annotations": GOLDEN["annotations"], **{key: method[key] for key in ("predictions", "rationales")}}
    paths = {name: tmp_path / f"{name}.json" for name in content}
    for name, path in paths.items():
        path.write_text(json.dumps(content[name]))
    return paths


def test_published_lists_come_in_and_go_out_without_loss(dataset: ArrayDataset, lists: dict[str, Path], tmp_path: Path):
    table = read_published_rationales(dataset, **lists, classes=5, meta={"model": "zero-shot"})
    right, valid = table.correct, table.rational
    counts = GOLDEN["methods"]["zs"]["counts"]
    found = {"RR": right & valid, "RW": right & ~valid, "WR": ~right & valid, "WW": ~right & ~valid}
    assert {name: int(cell.sum()) for name, cell in found.items()} == counts
    assert table.ids == dataset.ids and table.meta == {"model": "zero-shot"}
    again = {name: tmp_path / f"again-{name}.json" for name in lists}
    write_published_rationales(table, **again)
    for name in lists:
        assert again[name].read_bytes() == lists[name].read_bytes()


@pytest.mark.parametrize("name", ["annotations", "predictions", "rationales"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "cannot read"),
        ("{}", "is not a flat list of whole numbers"),
        ("[[0], [1]]", "is not a flat list"),
        ("[0, 1.5]", "is not a flat list"),
        ("[0, true]", "is not a flat list"),
        ("[0, null]", "is not a flat list"),
        ("[0, 1]", "has 2 entries for 37 images"),
        (str([0] * 36 + [-1]), "holds -1 in place 36"),
        (str([0] * 36 + [10**30]), "holds numbers that no list of classes has"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    dataset: ArrayDataset, lists: dict[str, Path], name: str, content: str, message: str
):
    lists[name].write_text(content)
    with pytest.raises(VlmDataError, match=message) as caught:
        read_published_rationales(dataset, **lists)
    assert str(lists[name]) in str(caught.value)


def test_labels_of_another_order_are_noticed(dataset: ArrayDataset, lists: dict[str, Path]):
    shuffled = dataset.select(np.random.default_rng(0).permutation(len(dataset)).tolist())
    with pytest.raises(
        VlmDataError, match=r"labels \d+ of 37 images otherwise than birds/test; the first is '\d+.jpg'"
    ):
        read_published_rationales(shuffled, **lists)


def test_a_list_of_the_wrong_kind_is_noticed(lists: dict[str, Path]):
    with pytest.raises(VlmDataError, match=r"holds 2 in place 2, and .* expected 0 or 1"):
        read_rationale_list(lists["predictions"], 37)
    with pytest.raises(VlmDataError, match="expected class indices from 0 to 3"):
        read_class_list(lists["annotations"], 37, 4)
    with pytest.raises(VlmDataError, match="cannot read"):
        read_class_list(lists["annotations"].with_name("none.json"), 37)


def table(*status: str) -> Rationales:
    n = len(status)
    rational = np.array([word == OK for word in status])
    mass = np.array([0.9 if word == OK else np.nan for word in status])
    ids = tuple(f"{i}.jpg" for i in range(n))
    return Rationales(ids, np.arange(n) - 1, np.zeros(n, dtype=np.int64), {"mass": mass}, status, rational)


def test_what_is_undefined_is_not_valid_in_a_list(tmp_path: Path):
    write_published_rationales(table(OK, FLAT, EMPTY), tmp_path / "p.json", tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text() == "[1, 0, 0]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.json", "r.json"]


def test_samples_without_evidence_or_label_have_no_place_in_a_list(tmp_path: Path):
    paths = tmp_path / "p.json", tmp_path / "r.json"
    with pytest.raises(VlmDataError, match=r"1 of 2 samples have no evidence: '1\.jpg'"):
        write_published_rationales(table(OK, NO_EVIDENCE), *paths)
    with pytest.raises(VlmDataError, match=r"1 of 2 samples have no label: '0\.jpg'"):
        write_published_rationales(table(OK, OK), *paths, tmp_path / "ANNO.json")
    assert list(tmp_path.iterdir()) == []


def test_samples_are_put_in_order():
    found = in_order(table(OK, NO_EVIDENCE, FLAT), ["2.jpg", "0.jpg"])
    assert (found.ids, found.status, found.labels.tolist()) == (("2.jpg", "0.jpg"), (FLAT, OK), [1, -1])
    assert np.array_equal(found.measures["mass"], [np.nan, 0.9], equal_nan=True)
    with pytest.raises(VlmDataError, match=r"1 of 2 samples are not among the 3 rationales: '7\.jpg'"):
        in_order(table(OK, OK, OK), ["0.jpg", "7.jpg"])
