import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from vlm_data.errors import CallError, VlmDataError
from vlm_eval.catalog import load_metric, measure
from vlm_eval.metrics.proportions import Proportion, wilson
from vlm_eval.metrics.rationality import (
    RationaleCounts,
    counts_of_answers,
    counts_per_class,
    rationale_counts,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "rationality"
EDGE = {case["name"]: case for case in json.loads((GOLDEN / "pt_ir_edge.json").read_text())}


def golden_methods():
    for name in ("main", "small"):
        document = json.loads((GOLDEN / f"pt_ir_{name}.json").read_text())
        for method, found in document["methods"].items():
            yield pytest.param(document["annotations"], found, id=f"{name}-{method}")


def lists(case):
    return [np.array(case[key], dtype=np.int64) for key in ("annotations", "predictions", "rationales")]


def as_counts(counts):
    return RationaleCounts(*(counts[key] for key in ("RR", "RW", "WR", "WW")))


@pytest.mark.parametrize(("labels", "found"), list(golden_methods()))
def test_counts_and_ratios_are_those_of_the_published_program(labels, found):
    counts = counts_of_answers(*lists({"annotations": labels, **found}))
    assert counts == as_counts(found["counts"])
    assert counts.pt.value == pytest.approx(found["PT"], abs=1e-5)
    assert counts.ir.value == pytest.approx(found["IR"], abs=1e-5)
    fractions = found["fractions"]
    assert counts.accuracy.value == pytest.approx(fractions["RR"] + fractions["RW"])
    assert counts.validity.value == pytest.approx(fractions["RR"] + fractions["WR"])


@pytest.mark.parametrize("name", ["all_right_all_valid", "none_right", "none_valid"])
def test_ratios_of_nothing_are_undefined_and_nothing_else_is(name):
    case = EDGE[name]
    counts = counts_of_answers(*lists(case))
    assert counts == as_counts(case["counts"])
    for share, reference in ((counts.pt, case["reference_PT"]), (counts.ir, case["reference_IR"])):
        if isinstance(reference, str):  # the exception that the published program ends with
            assert share.value is None and share.interval() is None
        else:
            assert share.value == pytest.approx(reference, abs=1e-5)


@pytest.mark.parametrize("name", ["rationales_shorter", "predictions_shorter"])
def test_lists_of_different_length_are_refused_and_never_cut(name):
    with pytest.raises(CallError, match="do not fit together"):
        counts_of_answers(*lists(EDGE[name]))


def test_without_an_image_everything_is_undefined():
    counts = counts_of_answers(*lists({"annotations": [], "predictions": [], "rationales": [], "name": "empty"}))
    assert counts.n == 0
    assert [share.value for share in counts.shares.values()] == [None] * 4


def test_values_that_fall_into_no_cell_are_refused():
    with pytest.raises(VlmDataError, match=r"1 of 3 rationales are neither 0 nor 1, first 2 at row 1"):
        rationale_counts(np.array([True, True, False]), np.array([1, 2, 0]))
    with pytest.raises(VlmDataError, match="answers are neither"):
        rationale_counts(np.array([0.0, np.nan]), np.array([1, 0]))


answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60).map(
    lambda pairs: tuple(np.array(column) for column in zip(*pairs, strict=True))
)


@given(answers)
def test_the_ratios_belong_together(pair):
    """`PT * accuracy = RR / n = IR * validity`, so accuracy / validity = IR / PT."""
    counts = rationale_counts(*pair)
    accuracy, validity = counts.accuracy.value, counts.validity.value
    if counts.pt.value is not None:
        assert counts.pt.value * accuracy == pytest.approx(counts.rr / counts.n)
    if counts.ir.value is not None:
        assert counts.ir.value * validity == pytest.approx(counts.rr / counts.n)
    if counts.rr:
        assert accuracy / validity == pytest.approx(counts.ir.value / counts.pt.value)


@given(answers, st.integers(0, 2**32 - 1))
def test_order_does_not_matter_and_swapping_roles_swaps_pt_and_ir(pair, seed):
    correct, rational = pair
    order = np.random.default_rng(seed).permutation(len(correct))
    counts = rationale_counts(correct, rational)
    assert rationale_counts(correct[order], rational[order]) == counts
    assert rationale_counts(rational, correct).pt == counts.ir


@given(answers)
def test_classes_add_up(pair):
    labels = np.arange(len(pair[0])) % 3 * 5
    parts = counts_per_class(labels, *pair)
    assert list(parts) == sorted(set(labels.tolist()))
    assert sum(parts.values(), RationaleCounts(0, 0, 0, 0)) == rationale_counts(*pair)


def test_classes_need_a_label_for_every_image():
    with pytest.raises(CallError, match="smallest -1"):
        counts_per_class(np.array([0, -1]), np.array([1, 0]), np.array([1, 0]))


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_is_that_of_scipy(trial, level):
    successes, n = trial
    expected = binomtest(successes, n).proportion_ci(level, "wilson")
    assert wilson(successes, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_impossible_proportions_are_refused():
    with pytest.raises(CallError, match="4 successes in 3 trials"):
        Proportion(4, 3).interval()
    with pytest.raises(CallError, match="level of an interval is 95"):
        Proportion(2, 3).interval(95)


def test_the_metrics_are_known_by_name():
    arrays = {"correct": np.array([True, True, False]), "rational": np.array([True, False, True])}
    assert [measure(name, arrays) for name in ("pt", "ir", "validity")] == pytest.approx([1 / 2, 1 / 2, 2 / 3])
    assert load_metric("pt")["better"] == "higher"
    nobody_right = {**arrays, "correct": np.zeros(3, dtype=bool)}
    assert math.isnan(measure("pt", nobody_right)) and measure("ir", nobody_right) == 0
