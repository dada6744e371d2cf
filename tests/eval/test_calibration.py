import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vlm_data.errors import CallError, VlmDataError
from vlm_eval.metrics import batch_averaged
from vlm_eval.metrics.calibration import (
    adaptive_calibration_error,
    batch_averaged_ece,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
    reliability_table,
    softmax,
)
from vlm_eval.metrics.likelihood import SUMMARY as LIKELIHOODS
from vlm_eval.metrics.reliability import bin_edges, bin_indices

GOLDEN = Path(__file__).parents[1] / "golden" / "calibration"
ECE_FILES = sorted(path.name for path in GOLDEN.glob("ece_*.npz"))
FLOAT32, EXACT = 3e-6, 1e-9


def float32_softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@st.composite
def predictions(draw, most=80):
    """Random probabilities and labels that are right more often than chance."""
    samples, classes = draw(st.integers(1, most)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.normal(size=(samples, classes)) * draw(st.sampled_from([0.1, 1.0, 5.0]))
    labels = np.where(rng.random(samples) < 0.5, logits.argmax(axis=1), rng.integers(0, classes, samples))
    return softmax(logits), labels


# --- published values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ECE_FILES)
def test_published_whole_set_values(name):
    golden = np.load(GOLDEN / name)
    checked = 0
    for key in golden:
        if match := re.fullmatch(r"ece_(l1|l2|max)_bins(\d+)", key):
            norm, bins = match.groups()
            samples = len(golden["labels"])
            actual = batch_averaged_ece(golden["probs"], golden["labels"], samples, bins=int(bins), norm=norm)
            assert actual == pytest.approx(float(golden[key]), abs=FLOAT32), key
            checked += 1
    assert checked >= 6


@pytest.mark.parametrize("name", [name for name in ECE_FILES if "ece_batch_averaged_bins10" in np.load(GOLDEN / name)])
def test_published_batch_averaged_values(name):
    golden = np.load(GOLDEN / name)
    sizes = golden["batch_sizes"]
    actual = [batch_averaged_ece(golden["probs"], golden["labels"], int(size)) for size in sizes]
    np.testing.assert_allclose(actual, golden["ece_batch_averaged_bins10"], atol=FLOAT32, rtol=0)
    for row, factor in enumerate(golden["inverse_temperatures"].astype(np.float32)):
        scaled = float32_softmax(golden["logits"] * factor)
        whole = batch_averaged_ece(scaled, golden["labels"], len(scaled))
        averaged = batch_averaged_ece(scaled, golden["labels"], int(sizes[0]))
        assert whole == pytest.approx(golden["ece_l1_bins10_scaled"][row], abs=FLOAT32)
        assert averaged == pytest.approx(golden["ece_batch_averaged_bins10_scaled"][row], abs=FLOAT32)


@pytest.mark.parametrize("name", ECE_FILES)
def test_published_reliability_diagram(name):
    golden = np.load(GOLDEN / name)
    # The diagram program compares float32 confidences with float64 edges; float64 input does the same.
    probabilities = golden["probs"].astype(np.float64)
    table = reliability_table(probabilities, golden["labels"], bins=10)
    np.testing.assert_allclose(table.edges, golden["diagram_bins"], atol=EXACT)
    np.testing.assert_array_equal(table.count, golden["diagram_counts"])
    np.testing.assert_allclose(table.accuracy, golden["diagram_accuracies"], atol=FLOAT32)
    np.testing.assert_allclose(table.confidence, golden["diagram_confidences"], atol=FLOAT32)
    assert table.mean_accuracy == pytest.approx(float(golden["diagram_avg_accuracy"]), abs=FLOAT32)
    assert table.mean_confidence == pytest.approx(float(golden["diagram_avg_confidence"]), abs=FLOAT32)
    ece = expected_calibration_error(probabilities, golden["labels"], bins=10)
    assert ece == pytest.approx(float(golden["diagram_expected_calibration_error"]), abs=FLOAT32)


def test_definitions():
    golden = np.load(GOLDEN / "definitions.npz")
    labels, probabilities = golden["labels"], softmax(golden["logits"])
    left = {"closed": "left"}
    actual = {
        "nll": negative_log_likelihood(golden["logits"], labels),
        "brier": brier_score(probabilities, labels),
        "ece_10": expected_calibration_error(probabilities, labels, bins=10, **left),
        "ece_15": expected_calibration_error(probabilities, labels, **left),
        "mce_15": maximum_calibration_error(probabilities, labels, **left),
        "ada_ece_15": adaptive_calibration_error(probabilities, labels),
        "classwise_ece_15": classwise_calibration_error(probabilities, labels, **left),
    }
    for key, value in actual.items():
        assert value == pytest.approx(float(golden[key]), abs=EXACT), key


# --- bin conventions --------------------------------------------------------------------------------------------------


def test_edges_are_the_nearest_numbers_to_k_over_n():
    assert bin_edges(10)[3] == 0.3 and bin_edges(15)[3] == 0.2


def test_confidences_on_edges_follow_the_convention():
    # 0.60 right and 0.80 wrong, five bins: with bins closed on the right they are (0.4, 0.6] and (0.6, 0.8].
    probabilities = np.array([[0.6, 0.4], [0.8, 0.2], [0.7, 0.3]])
    labels = np.array([0, 1, 0])
    right = reliability_table(probabilities, labels, bins=5)
    left = reliability_table(probabilities, labels, bins=5, closed="left")
    assert right.count.tolist() == [0, 0, 1, 2, 0] and left.count.tolist() == [0, 0, 0, 2, 1]
    assert expected_calibration_error(probabilities, labels, bins=5) == pytest.approx((0.4 + abs(1 - 1.5)) / 3)
    assert expected_calibration_error(probabilities, labels, bins=5, closed="left") == pytest.approx(
        (abs(2 - 1.3) + 0.8) / 3
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bins", [1, 3, 10, 15])
def test_every_edge_lies_in_the_bin_the_convention_says(dtype, bins):
    edges = bin_edges(bins).astype(dtype)
    inner = np.arange(bins - 1)
    np.testing.assert_array_equal(bin_indices(edges, bins), [0, *inner, bins - 1])
    np.testing.assert_array_equal(bin_indices(edges, bins, "left"), [0, *(inner + 1), bins - 1])


def test_the_published_estimator_compares_in_single_precision():
    # 0.6 lies on an edge in float32 and below the float32 edge as a float64: one bin with 0.65, or two bins.
    probabilities = np.array([[0.6, 0.4], [0.65, 0.35]])
    assert batch_averaged_ece(probabilities, np.array([0, 1])) == pytest.approx(0.125, abs=FLOAT32)


def test_confidence_above_one_by_rounding_counts_in_the_last_bin():
    probabilities = np.array([[np.nextafter(np.float32(1), np.float32(2)), 0]], dtype=np.float32)
    assert reliability_table(probabilities, np.array([0])).count.tolist() == [0] * 14 + [1]
    assert batch_averaged_ece(probabilities, np.array([0])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bins", [*range(1, 33), 50, 99, 100])
def test_published_edges_are_those_of_torch(bins):
    np.testing.assert_array_equal(batch_averaged._published_edges(bins), torch.linspace(0, 1, bins + 1).numpy())


# --- oracle -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("bins", [1, 4, 10, 15])
def test_torchmetrics_agrees_on_the_published_convention(norm, bins):
    oracle = pytest.importorskip("torchmetrics").functional.calibration_error
    options = {"task": "multiclass", "num_classes": 5, "n_bins": bins, "norm": norm}
    rng = np.random.default_rng(3)
    probabilities = softmax(3 * rng.normal(size=(500, 5))).astype(np.float32)
    # Some confidences exactly on edges, and at 1.0, where conventions differ.
    probabilities[:4] = [[0.6, 0.4, 0, 0, 0], [0.2] * 5, [1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0]]
    labels = rng.integers(0, 5, 500)
    expected = oracle(torch.tensor(probabilities), torch.tensor(labels), **options)
    assert batch_averaged_ece(probabilities, labels, 500, bins=bins, norm=norm) == pytest.approx(
        float(expected), abs=FLOAT32
    )
    if norm != "max" and bins != 1:  # nothing at exactly 1.0, where torchmetrics has its extra bin
        inside = (probabilities.max(axis=1) < 1) & (probabilities.max(axis=1) != np.float32(0.2))
        expected = oracle(torch.tensor(probabilities[inside]), torch.tensor(labels[inside]), **options)
        ours = expected_calibration_error(probabilities[inside], labels[inside], bins=bins, closed="left", norm=norm)
        assert ours == pytest.approx(float(expected), abs=FLOAT32)


# --- closed forms and borders -----------------------------------------------------------------------------------------


def test_a_calibrated_table_has_no_error():
    probabilities = np.tile([0.75, 0.25], (400, 1))
    labels = (np.arange(400) % 4 == 3).astype(int)
    for error in (expected_calibration_error, maximum_calibration_error, classwise_calibration_error):
        assert error(probabilities, labels) == pytest.approx(0, abs=1e-12)


def test_certain_answers_give_the_error_rate():
    probabilities = np.eye(3)[[0, 1, 2, 0]]
    labels = np.array([0, 1, 2, 1])
    for norm in ("l1", "max", "l2"):
        assert expected_calibration_error(probabilities, labels, norm=norm) == pytest.approx(0.25)
    assert adaptive_calibration_error(probabilities, labels) == 0.25
    assert brier_score(probabilities, labels) == 0.5


@pytest.mark.parametrize("right", [True, False])
def test_one_sample(right):
    probabilities, labels = np.array([[0.75, 0.25]]), np.array([0 if right else 1])
    gap = 0.25 if right else 0.75
    for error in (expected_calibration_error, maximum_calibration_error, adaptive_calibration_error):
        assert error(probabilities, labels) == pytest.approx(gap)
    assert classwise_calibration_error(probabilities, labels) == pytest.approx(gap)
    assert batch_averaged_ece(probabilities, labels) == pytest.approx(gap)
    assert brier_score(probabilities, labels) == pytest.approx(2 * gap**2)


def test_one_class_is_always_right():
    probabilities, labels = np.ones((5, 1)), np.zeros(5, dtype=int)
    for error in (expected_calibration_error, classwise_calibration_error, adaptive_calibration_error, brier_score):
        assert error(probabilities, labels) == 0
    assert negative_log_likelihood(np.full((5, 1), 3.0), labels) == 0


def test_likelihood_survives_logits_that_overflow_a_softmax():
    assert negative_log_likelihood(np.array([[2000.0, 0.0]]), np.array([1])) == 2000
    assert negative_log_likelihood(np.array([[60000, 0]], dtype=np.float16), np.array([0])) == 0
    assert negative_log_likelihood(np.array([[1.0, -np.inf]]), np.array([0])) == 0


def test_an_impossible_true_class_has_no_likelihood():
    with pytest.raises(VlmDataError, match="true class 1 of row 2 has logit -inf"):
        negative_log_likelihood(np.array([[0.0, 1], [0, 1], [0, -np.inf]]), np.array([0, 0, 1]))


def test_half_precision_input_is_summed_in_double():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5000, 4)).astype(np.float16)
    labels = rng.integers(0, 4, 5000)
    assert softmax(logits).dtype == np.float64
    half = softmax(logits).astype(np.float16)
    assert brier_score(half, labels) == pytest.approx(brier_score(softmax(logits), labels), abs=1e-4)
    assert expected_calibration_error(half, labels) == pytest.approx(
        expected_calibration_error(softmax(logits), labels), abs=0.01
    )


def test_adaptive_groups_put_the_larger_ones_first():
    # Five samples in two groups: the three least confident (mean 0.6, all wrong), then two (0.85, all right).
    confidences = np.array([0.9, 0.5, 0.6, 0.7, 0.8])
    probabilities = np.stack([confidences, 1 - confidences], axis=1)
    labels = np.array([0, 1, 1, 1, 0])
    assert adaptive_calibration_error(probabilities, labels, bins=2) == pytest.approx((3 * 0.6 + 2 * 0.15) / 5)


def test_adaptive_groups_keep_table_order_among_equal_confidences():
    rng = np.random.default_rng(4)
    confidences = rng.choice([0.55, 0.75, 0.95], 1000)
    labels = rng.integers(0, 2, 1000)
    rows = np.array(sorted(range(1000), key=lambda row: confidences[row])).reshape(10, 100)  # sorted() is stable
    expected = np.abs((labels[rows] == 0).mean(axis=1) - confidences[rows].mean(axis=1)).mean()
    probabilities = np.stack([confidences, 1 - confidences], axis=1)
    assert adaptive_calibration_error(probabilities, labels, bins=10) == pytest.approx(expected)


def test_classwise_error_is_the_mean_over_classes_also_when_the_table_is_cut_into_blocks():
    rng = np.random.default_rng(1)
    probabilities, labels = softmax(3 * rng.normal(size=(50_000, 90))), rng.integers(0, 90, 50_000)
    total = 0.0
    for label in range(90):
        of_class = probabilities[:, label]
        index = np.ceil(of_class * 15).astype(int)
        gap = (labels == label) - of_class
        total += sum(abs(gap[index == place].sum()) for place in range(16))
    assert classwise_calibration_error(probabilities, labels) == pytest.approx(total / (50_000 * 90), abs=1e-12)


# --- properties -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(predictions(), st.randoms(use_true_random=False), st.sampled_from(["left", "right"]))
def test_errors_do_not_depend_on_the_order_of_samples_or_classes(table, random, closed):
    probabilities, labels = table
    samples, classes = list(range(len(labels))), list(range(probabilities.shape[1]))
    random.shuffle(samples)
    random.shuffle(classes)
    place = np.argsort(classes)
    shuffled = probabilities[samples][:, classes], place[labels[samples]]
    assume(len(set(probabilities.max(axis=1))) == len(labels))  # adaptive bins keep table order among ties
    for error in (expected_calibration_error, maximum_calibration_error, classwise_calibration_error):
        assert error(*shuffled, closed=closed) == pytest.approx(error(probabilities, labels, closed=closed), abs=1e-12)
    for error in (adaptive_calibration_error, brier_score):
        assert error(*shuffled) == pytest.approx(error(probabilities, labels), abs=1e-12)


@settings(deadline=None)
@given(predictions(), st.integers(1, 100), st.integers(1, 30))
def test_averaging_over_batches_never_lowers_the_error(table, batch_size, bins):
    probabilities, labels = table
    whole = batch_averaged_ece(probabilities, labels, len(labels), bins=bins)
    assert batch_averaged_ece(probabilities, labels, batch_size, bins=bins) >= whole - 1e-12


@settings(deadline=None)
@given(predictions(), st.integers(1, 100))
def test_batch_average_equals_the_loop_over_batches(table, batch_size):
    probabilities, labels = table
    parts = [slice(first, first + batch_size) for first in range(0, len(labels), batch_size)]
    for norm in ("l1", "l2", "max"):
        loop = sum(
            len(labels[part]) * batch_averaged_ece(probabilities[part], labels[part], batch_size, norm=norm)
            for part in parts
        )
        assert batch_averaged_ece(probabilities, labels, batch_size, norm=norm) == pytest.approx(loop / len(labels))


@settings(deadline=None)
@given(predictions(), st.integers(1, 30), st.sampled_from(["left", "right"]))
def test_norms_are_ordered_and_bounded_below_by_the_overall_gap(table, bins, closed):
    l1, l2, largest = (
        expected_calibration_error(*table, bins=bins, closed=closed, norm=norm) for norm in ("l1", "l2", "max")
    )
    assert 0 <= l1 <= l2 + 1e-12 <= largest + 2e-12 <= 1 + 2e-12
    assert l1 >= abs(reliability_table(*table, bins=bins, closed=closed).overconfidence) - 1e-12


@settings(deadline=None)
@given(predictions())
def test_table_and_error_tell_the_same(table):
    parts = reliability_table(*table)
    assert parts.count.sum() == len(table[1])
    assert parts.mean_accuracy == pytest.approx((table[0].argmax(axis=1) == table[1]).mean())
    share = parts.count / parts.count.sum()
    assert (share * abs(parts.accuracy - parts.confidence)).sum() == pytest.approx(expected_calibration_error(*table))


# --- wrong calls ------------------------------------------------------------------------------------------------------

ALL = [
    expected_calibration_error,
    maximum_calibration_error,
    adaptive_calibration_error,
    classwise_calibration_error,
    batch_averaged_ece,
    *(metric["compute"] for metric in LIKELIHOODS.values()),
]


@pytest.mark.parametrize("metric", ALL)
def test_undefined_cases_are_errors_and_never_nan(metric):
    with pytest.raises(VlmDataError, match="nothing to score: 0 samples, 3 classes"):
        metric(np.zeros((0, 3)), np.zeros(0, dtype=int))
    with pytest.raises(VlmDataError, match=r"1 of 2 labels are no class index, first -1 at row 1"):
        metric(np.full((2, 2), 0.5), np.array([0, -1]))
    with pytest.raises(VlmDataError, match="1 of 2 samples are not finite, first at row 1"):
        metric(np.array([[0.5, 0.5], [np.nan, 1]]), np.array([0, 0]))
    with pytest.raises(CallError, match=r"scores of shape \(2, 2\) and labels of shape \(3,\)"):
        metric(np.full((2, 2), 0.5), np.zeros(3, dtype=int))


def test_logits_are_not_taken_for_probabilities():
    with pytest.raises(CallError, match=r"these are no probabilities: entries from -1 to 2, .*likelihood\.softmax"):
        expected_calibration_error(np.array([[2.0, -1.0]]), np.array([0]))


def test_wrong_options_name_the_valid_ones():
    table = np.array([[0.5, 0.5]]), np.array([0])
    with pytest.raises(CallError, match=r"unknown norm 'l3'\. Did you mean 'l\d'\? Known: l1, l2, max\."):
        expected_calibration_error(*table, norm="l3")
    with pytest.raises(CallError, match=r"unknown bin convention 'rigth'\. Did you mean 'right'\?"):
        expected_calibration_error(*table, closed="rigth")
    with pytest.raises(CallError, match="number of bins is 0; expected 1 or more"):
        adaptive_calibration_error(*table, bins=0)
    with pytest.raises(CallError, match="batch size 0 and 10 bins are not possible"):
        batch_averaged_ece(*table, 0)
    with pytest.raises(CallError, match="unknown norm 'l0'"):
        batch_averaged_ece(*table, norm="l0")
