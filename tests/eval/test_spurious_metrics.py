"""Metrics of planted correlations against the golden values, and at the borders."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError, VlmDataError
from vlm_eval.metrics.spurious import (
    LearntGaps,
    is_valid,
    learnt_gaps,
    precision_at,
    random_precision_at,
    recall_at,
)
from vlm_eval.metrics.subgroups import subgroups, worst_group_accuracy, worst_group_scores

GOLDEN = Path(__file__).parents[1] / "golden" / "ravl_metrics"
VALUES = ("with", "without")
EXACT = 1e-9


def presence(flags):
    return ["with" if flag else "without" for flag in flags]


def numbers(array):
    return [[None if np.isnan(value) else pytest.approx(value, abs=EXACT) for value in row] for row in array]


@pytest.fixture(params=("seed21", "seed22"))
def golden(request):
    arrays = dict(np.load(GOLDEN / f"metrics_{request.param}.npz"))
    return arrays, json.loads((GOLDEN / f"metrics_{request.param}.json").read_text())


def image_groups(arrays, told):
    labels = arrays["img_true_label"]
    correct = labels == arrays["img_pred_label"]
    return subgroups(correct, labels, presence(arrays["feature_present"]), told["num_classes"], VALUES)


def test_image_accuracies_are_the_golden_ones(golden):
    arrays, told = golden
    found = image_groups(arrays, told)
    assert found.overall == pytest.approx(told["image_overall"], abs=EXACT)
    assert numbers([found.per_class]) == [told["image_per_class"]]
    assert numbers(found.accuracy) == told["subgroup_accuracy_present_absent"]
    assert found.counts.tolist() == told["subgroup_count_present_absent"]
    assert found.worst.accuracy == pytest.approx(told["image_worst_group"], abs=EXACT)


def test_region_accuracies_are_the_golden_ones_without_regions_of_no_class(golden):
    arrays, told = golden
    labels = arrays["region_true_label"]
    present = np.broadcast_to(arrays["feature_present"][:, None], labels.shape)
    correct = labels == arrays["region_pred_label"]
    found = subgroups(correct.ravel(), labels.ravel(), presence(present.ravel()), told["num_classes"], VALUES)
    assert found.counts.sum() < labels.size
    assert found.overall == pytest.approx(told["region_overall"], abs=EXACT)
    assert numbers([found.per_class]) == [told["region_per_class"]]
    assert found.worst_class == pytest.approx(told["region_worst_class"], abs=EXACT)
    assert numbers(found.accuracy) == told["region_subgroup_present_absent"]
    assert found.worst.accuracy == pytest.approx(told["region_worst_group"], abs=EXACT)


def test_precision_and_recall_are_the_golden_ones(golden):
    arrays, told = golden
    spurious = arrays["region_is_spurious"].ravel()
    ranked = spurious[arrays["ranked_region_idx"]]
    assert len(ranked) == told["available"]
    for k, value in told["precision_at"].items():
        assert precision_at(ranked, int(k)) == pytest.approx(value, abs=EXACT)
    for k, value in told["recall_at"].items():
        assert recall_at(ranked, int(k), int(spurious.sum())) == pytest.approx(value, abs=EXACT)


def test_both_gaps_are_the_golden_ones_for_every_class(golden):
    arrays, told = golden
    found = image_groups(arrays, told)
    gaps = [learnt_gaps(found, label, *VALUES) for label in range(told["num_classes"])]
    for name, key in (("epsilon1", "epsilon1_if_spurious_class"), ("epsilon2", "epsilon2_if_spurious_class")):
        expected = [None if value is None else pytest.approx(value, abs=EXACT) for value in told[key]]
        assert [getattr(one, name) for one in gaps] == expected


def test_a_setting_is_valid_only_if_every_seed_exceeds_the_threshold_in_both_gaps():
    strong, weak = LearntGaps(0.5, 0.25), LearntGaps(0.25, 0.5)
    assert is_valid([strong, weak], 0.2)
    assert not is_valid([strong, weak], 0.25)  # equal is not above
    assert not is_valid([strong, LearntGaps(0.5, 0.05)], 0.1)
    assert not is_valid([strong, LearntGaps(None, 0.5)], 0.1) and not is_valid([LearntGaps(0.5, None)], -1.0)
    with pytest.raises(CallError, match="no model to judge the setting by"):
        is_valid([], 0.1)


def test_gaps_without_a_cell_they_need_are_undefined():
    labels, values = np.array([0, 1, 1]), ["with", "with", "without"]
    found = subgroups(np.array([True, False, True]), labels, values, 2, VALUES)
    assert learnt_gaps(found, 0, *VALUES) == LearntGaps(None, 1.0, 1)
    assert learnt_gaps(found, 1, *VALUES) == LearntGaps(-1.0, None, None)
    with pytest.raises(CallError, match=r"no class 2; expected 0 to 1"):
        learnt_gaps(found, 2, *VALUES)
    with pytest.raises(CallError, match=r"'withot'.*without"):
        learnt_gaps(found, 0, "with", "withot")


def test_ranks_and_totals_that_cannot_be_are_refused():
    with pytest.raises(CallError, match="K is 0"):
        precision_at(np.array([True]), 0)
    with pytest.raises(CallError, match="2 ranked regions hold the feature, of 1 in all"):
        recall_at(np.array([True, True]), 1, 1)
    assert precision_at(np.zeros(0, dtype=bool), 10) == 0.0
    assert recall_at(np.zeros(0, dtype=bool), 10, 0) is None


def test_a_random_order_has_the_expected_precision():
    spurious = np.random.default_rng(0).random(400) < 0.2
    orders = np.random.default_rng(1).permuted(np.tile(spurious, (4000, 1)), axis=1)
    mean = np.mean([precision_at(order, 10) for order in orders])
    assert random_precision_at(spurious, 10) == pytest.approx(mean, abs=0.01)
    assert random_precision_at(spurious[:4], 10) == spurious[:4].sum() / 10


@given(st.integers(0, 2**32 - 1))
def test_the_worst_group_is_never_above_the_worst_class_nor_that_above_the_whole(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    labels, correct = rng.integers(-1, 4, n), rng.random(n) < 0.6
    labels[0] = 0
    found = subgroups(correct, labels, presence(rng.random(n) < 0.5))
    assert found.worst.accuracy <= found.worst_class <= found.overall
    assert found.counts.sum() == (labels >= 0).sum()
    order = rng.permutation(n)
    again = subgroups(correct[order], labels[order], presence(np.ones(n)))
    assert again.right.sum() == found.right.sum()


def test_several_attributes_are_not_crossed_and_the_worst_cell_is_that_of_any():
    labels = np.array([0, 0, 1, 1])
    correct = np.array([True, False, True, True])
    groups = {"region": ["Asia", "Asia", "Asia", "Europe"], "year": ["2016", "2017", "2016", "2016"]}
    found = worst_group_scores(correct, labels, groups)
    assert found == {"worst_group_accuracy": 0.0, "worst_group_size": 1.0, "empty_groups": 2.0}
    logits = np.eye(2)[np.where(correct, labels, 1 - labels)]
    assert worst_group_accuracy(logits, labels, {"region": groups["region"]}) == 0.5
    assert worst_group_scores(correct, labels, {}) == {}
    with pytest.raises(VlmDataError, match="there is no group"):
        worst_group_accuracy(logits, labels, {})


def test_values_and_labels_that_do_not_fit_are_refused():
    right = np.array([True, True])
    with pytest.raises(CallError, match="2 answers, 2 labels and 1 values"):
        subgroups(right, np.array([0, 1]), ["with"])
    with pytest.raises(CallError, match=r"the value 'maybe'; expected with, without"):
        subgroups(right, np.array([0, 1]), ["with", "maybe"], columns=VALUES)
    with pytest.raises(CallError, match=r"labels run from 0 to 1; expected 0 to 0"):
        subgroups(right, np.array([0, 1]), ["with", "with"], 1)
    with pytest.raises(CallError, match=r"labels run from -2 to 1"):
        subgroups(right, np.array([-2, 1]), ["with", "with"])
