"""Scores over parts of the classes, groups of images and frames of videos, against those of the published programs."""

import json
from pathlib import Path

import numpy as np
import pytest

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Predictions
from vlm_eval.metrics.accuracy import accuracy, mean_per_class_recall, top_k_accuracy
from vlm_eval.metrics.f_score import macro_f1
from vlm_eval.metrics.groups import (
    accuracies_by_group,
    group_accuracies,
    worst_group,
    worst_region_accuracy,
    worst_year_accuracy,
)
from vlm_eval.metrics.video import judged_by_anchor, judged_by_frame
from vlm_eval.projection import exclude_classes, merge_classes, select_classes, select_labels
from vlm_eval.scores import score

GOLDEN = Path(__file__).parents[1] / "golden" / "wise"
MAPS = json.loads((GOLDEN / "class_maps.json").read_text())
SUBSETS = np.load(GOLDEN / "class_subsets.npz")
WILDS = json.loads((GOLDEN / "wilds_metrics.json").read_text())
FRAMES = json.loads((GOLDEN / "pm_k.json").read_text())


def one_hot(predicted, classes):
    return np.eye(classes)[predicted]


@pytest.mark.parametrize("name", ["r", "a"])
def test_two_hundred_classes(name):
    ids, labels = np.array(MAPS[f"imagenet_{name}"]), SUBSETS[f"{name}_labels"]
    logits = select_classes(SUBSETS[f"{name}_logits"].astype(np.float32), ids)
    np.testing.assert_array_equal(logits, SUBSETS[f"{name}_projected"])
    np.testing.assert_array_equal(merge_classes(SUBSETS[f"{name}_logits"], ids[:, None].tolist()), logits)
    np.testing.assert_array_equal(logits.argmax(axis=1), SUBSETS[f"{name}_pred"])
    assert accuracy(logits, labels) == float(SUBSETS[f"{name}_top1"])
    found = select_labels(SUBSETS[f"{name}_val_labels"], ids)
    np.testing.assert_array_equal(found, SUBSETS[f"{name}_val_projected_labels"])


def test_objectnet():
    sources = [one["imagenet_ids"] for one in MAPS["objectnet"]]
    logits = merge_classes(SUBSETS["objectnet_logits"].astype(np.float32), sources)
    np.testing.assert_array_equal(logits, SUBSETS["objectnet_projected"])
    np.testing.assert_array_equal(logits.argmax(axis=1), SUBSETS["objectnet_pred"])
    assert accuracy(logits, SUBSETS["objectnet_labels"]) == float(SUBSETS["objectnet_top1"])


@pytest.mark.parametrize("how", ["max", "mean", "median", "sum"])
def test_youtube_bounding_boxes(how):
    sources = [one["imagenet_ids"] for one in MAPS["ytbb"]]
    none = [one["name"] for one in MAPS["ytbb"]].index("none")
    logits = merge_classes(SUBSETS["ytbb_logits"].astype(np.float32), sources, how, missing=0.0)
    logits = exclude_classes(logits, [none])
    np.testing.assert_allclose(logits, SUBSETS[f"ytbb_projected_{how}"], rtol=0, atol=1e-3)
    if how == "max":
        np.testing.assert_array_equal(logits.argmax(axis=1), SUBSETS["ytbb_pred"])


def test_the_first_five_of_a_thousand():
    logits, labels = SUBSETS["imagenet_logits"].astype(np.float32), SUBSETS["imagenet_labels"]
    assert accuracy(logits, labels) == pytest.approx(float(SUBSETS["imagenet_top1"]), abs=1e-7)
    assert top_k_accuracy(logits, labels, 1) == pytest.approx(float(SUBSETS["imagenet_acc1"]), abs=1e-7)
    assert top_k_accuracy(logits, labels, 5) == pytest.approx(float(SUBSETS["imagenet_acc5"]), abs=1e-7)


def test_iwildcam():
    labels, predicted, published = (np.array(WILDS["iwildcam"][key]) for key in ("y_true", "y_pred", "metrics"))
    logits, published = one_hot(predicted, 182), published.item()
    assert accuracy(logits, labels) == pytest.approx(published["acc_avg"], abs=1e-6)
    assert mean_per_class_recall(logits, labels) == pytest.approx(published["recall-macro_all"], abs=1e-6)
    assert macro_f1(logits, labels) == pytest.approx(published["F1-macro_all"], abs=1e-6)
    assert set(predicted) - set(labels)  # a class that is only predicted makes the difference


def test_fmow():
    found = WILDS["fmow"]
    labels, published = np.array(found["y_true"]), found["metrics"]
    logits = one_hot(np.array(found["y_pred"]), 62)
    groups = {
        "region": [found["region_names"][place] for place in found["region"]],
        "year": [str(2002 + place) for place in found["year_index"]],
    }
    correct = logits.argmax(axis=1) == labels
    assert accuracy(logits, labels) == pytest.approx(published["acc_avg"], abs=1e-6)
    assert worst_region_accuracy(logits, labels, groups["region"]) == pytest.approx(
        published["acc_worst_region"], abs=1e-6
    )
    assert worst_year_accuracy(logits, labels, groups["year"]) == pytest.approx(published["acc_worst_year"], abs=1e-6)
    scores = accuracies_by_group(correct, groups)
    for attribute, values in groups.items():
        members = group_accuracies(correct, values)
        counts = {key.partition(":")[2]: n for key, n in published.items() if key.startswith(f"count_{attribute}:")}
        assert {name: n for name, (_, n) in members.items()} == counts
        for name in members:
            expected = published[f"acc_{attribute}:{name}"]
            assert scores[f"accuracy_{attribute}:{name}"] == pytest.approx(expected, abs=1e-6)
    assert len(scores) == 6 + 2


def test_images_of_unknown_region_do_not_count():
    correct = np.array([False, True])
    assert worst_group(correct, ["Other", "Asia"], besides=("Other",)) == ("Asia", 1.0)
    with pytest.raises(VlmDataError, match="no sample is in a group other than Other"):
        worst_group(correct[:1], ["Other"], besides=("Other",))
    with pytest.raises(CallError, match="1 groups for 2 samples"):
        group_accuracies(correct, ["Asia"])


@pytest.fixture(scope="module")
def predicted():
    return dict(zip(FRAMES["keys"], np.argmax(FRAMES["scores"], axis=1).tolist(), strict=True))


def test_frames_judged_by_their_own_labels(predicted):
    outcomes = judged_by_frame(predicted, FRAMES["pmsets"], FRAMES["labels"])
    assert (outcomes.pm0, outcomes.pm10) == (FRAMES["vid"]["pm0"], FRAMES["vid"]["pm10"])


def test_frames_judged_by_the_labels_of_their_anchor(predicted):
    published = FRAMES["ytbb"]
    outcomes = judged_by_anchor(predicted, published["pmk_frames"], published["anchor_labels"])
    assert (outcomes.pm0, outcomes.pm10) == (published["pm0"], published["pm10"])
    right = sorted(name for name, correct in zip(outcomes.anchors, outcomes.correct, strict=True) if correct)
    assert right == published["correct_anchors"]
    wrong = {
        name: None if found is None else list(found)
        for name, found in zip(outcomes.anchors, outcomes.wrong_neighbours, strict=True)
    }
    assert wrong == published["adversarial"]


def test_frames_without_prediction_or_labels_are_named():
    with pytest.raises(CallError, match=r"1 frames have no prediction: 'b'\. Expected all frames\."):
        judged_by_frame({"a": 0}, {"a": ["b"]}, {"a": [0], "b": [0]})
    with pytest.raises(CallError, match="1 frames have no labels: 'b'"):
        judged_by_frame({"a": 0, "b": 0}, {"a": ["b"]}, {"a": [0]})
    with pytest.raises(VlmDataError, match="there is no anchor frame"):
        judged_by_anchor({}, {}, {})


def test_groups_and_metrics_of_the_data_land_in_rows(tmp_path):
    labels = np.array([0, 1, 0, -1, 1])
    groups = {"region": ("Asia", "Asia", "Europe", "Africa", "Other"), "year": ("2016",) * 4 + ("2017",)}
    meta = {"data": "fmow", "metrics": "worst_region_accuracy macro_f1"}
    table = Predictions(tuple("abcde"), labels, one_hot([0, 0, 0, 0, 0], 2).astype(np.float32), meta, groups)
    row = score(Predictions.load(table.save(tmp_path / "p.parquet") and tmp_path / "p.parquet"))
    assert row["metrics"]["worst_region_accuracy"] == 0.5 and row["metrics"]["macro_f1"] == pytest.approx(1 / 3)
    told = {name: value for name, value in row["metrics"].items() if ":" in name}
    assert told == {
        "accuracy_region:Asia": 0.5,
        "accuracy_region:Europe": 1.0,
        "accuracy_region:Other": 0.0,
        "accuracy_year:2016": pytest.approx(2 / 3),
        "accuracy_year:2017": 0.0,
    }


def test_what_these_images_cannot_tell_is_left_out():
    meta = {"data": "fmow", "metrics": "worst_region_accuracy"}
    logits = np.eye(2, dtype=np.float32)
    table = Predictions(("a", "b"), np.array([0, 1]), logits, meta, {"region": ("Other", "Other")})
    row = score(table)
    assert "worst_region_accuracy" not in row["metrics"] and row["metrics"]["accuracy_region:Other"] == 1.0
