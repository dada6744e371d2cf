"""The published workflow from its flat lists to PT and IR of four methods, with tests between them."""

import json
from pathlib import Path

import numpy as np
import pytest

from vlm_data.dataset import ArrayDataset
from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables.published_lists import read_published_rationales
from vlm_eval.rationality.comparison import compare_models
from vlm_eval.rationality.documents import comparison_documents
from vlm_eval.rationality.of_models import rationality_of_models
from vlm_eval.rationality.scores import score_rationales

GOLDEN = Path(__file__).parents[1] / "golden" / "rationality"
METHODS = ("zs", "lp", "flcp", "ft")


@pytest.fixture(scope="module", params=["main", "small"])
def published(request):
    return json.loads((GOLDEN / f"pt_ir_{request.param}.json").read_text())


def images(labels):
    ids = tuple(f"class/{row:05d}.jpg" for row in range(len(labels)))
    return ArrayDataset("cub", "test", ids, np.array(labels), np.zeros((len(labels), 1, 1, 3), dtype=np.uint8))


def tables_of(published, folder, cut=None):
    """What the three files of each method say."""
    dataset, found = images(published["annotations"]), {}
    (folder / "ANNO.json").write_text(json.dumps(published["annotations"]))
    for name in METHODS:
        for kind in ("predictions", "rationales"):
            (folder / f"{name}_{kind}.json").write_text(json.dumps(published["methods"][name][kind][:cut]))
        paths = [folder / f"{name}_{kind}.json" for kind in ("predictions", "rationales")]
        found[name] = read_published_rationales(dataset, *paths, folder / "ANNO.json", meta={"data": "cub"})
    return found


def test_pt_and_ir_of_all_methods_are_the_published_ones(published, tmp_path):
    for name, table in tables_of(published, tmp_path).items():
        expected, scores = published["methods"][name], score_rationales(table)
        assert (scores.counts.rr, scores.counts.ww) == (expected["counts"]["RR"], expected["counts"]["WW"])
        assert scores.shares["pt"].value == pytest.approx(expected["PT"], abs=1e-5)
        assert scores.shares["ir"].value == pytest.approx(expected["IR"], abs=1e-5)


def test_methods_are_tested_against_each_other_on_the_same_images(published, tmp_path):
    tables = tables_of(published, tmp_path)
    found = rationality_of_models({name: [table] for name, table in tables.items()})
    assert found.curves == {} and found.rule == ("mass", None) and list(found.tests) == ["lp", "flcp", "ft"]
    for name, tests in found.tests.items():
        change = tests["cub"].changes["pt"]
        expected = published["methods"][name]["PT"] - published["methods"]["zs"]["PT"]
        assert change.difference == pytest.approx(expected, abs=2e-5)
        assert change.low < change.difference < change.high
    json.dumps(comparison_documents({name: list(tests.values()) for name, tests in found.tests.items()}))


def test_any_subset_of_methods_will_do(published, tmp_path):
    tables = tables_of(published, tmp_path)
    found = compare_models({"zs": [tables["zs"]], "ft": [tables["ft"]]}, resamples=50)
    assert list(found) == ["ft"]
    with pytest.raises(CallError, match="at least two"):
        compare_models({"zs": [tables["zs"]]})


def test_a_list_that_stopped_early_is_refused(published, tmp_path):
    """The published scripts for ImageNet stop after five batches, and the metric script says nothing."""
    with pytest.raises(VlmDataError, match="predictions"):
        tables_of(published, tmp_path, cut=20)
