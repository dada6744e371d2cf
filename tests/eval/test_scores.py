import json

import numpy as np
import pytest

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Predictions
from vlm_eval.intervals import bootstrap, clopper_pearson
from vlm_eval.metrics.calibration import expected_calibration_error, softmax
from vlm_eval.rows import Row
from vlm_eval.scores import DEFAULT_METRICS, Scoring, mean_over_shifts, score, score_group, score_tables

QUICK = Scoring(resamples=20)
NOTHING = Scoring(resamples=0)


def table(data="digits", *, samples=60, seed=0, skill=2.0, **meta):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, samples)
    logits = rng.normal(size=(samples, 4))
    logits[np.arange(samples), labels] += skill
    facts = {"model": "tiny", "data": data, "split": "test", "role": "id", "shift": "", "group": "", "severity": "0"}
    return Predictions(
        tuple(f"image-{row}" for row in range(samples)),
        labels,
        logits.astype(np.float32),
        {**facts, "weights_hash": "w", **meta},
    )


def shift(name, group, severity=0, **changes):
    data = f"digits/{name}" + (f"-{severity}" if severity else "")
    facts = {"role": "shift", "shift": name, "group": group, "severity": str(severity), **changes}
    return table(data, seed=severity, skill=2.0 - severity / 2, **facts)


def test_a_row_has_the_one_shape():
    row = score(table(alpha="0.5", data_hash="d"), run="runs/a", method="carot")
    assert Row.__required_keys__ == set(row)
    assert (row["model"], row["run"], row["method"], row["alpha"]) == ("tiny", "runs/a", "carot", 0.5)
    assert (row["data"], row["split"], row["role"], row["group"]) == ("digits", "test", "id", "")
    assert row["severity"] is None and row["n"] == 60
    assert tuple(row["metrics"]) == DEFAULT_METRICS and set(row["intervals"]) == {"accuracy", "ece"}
    assert row["hashes"] == {"weights": "w", "data": "d"}
    assert all(type(value) is float for value in row["metrics"].values())
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_numbers_are_those_of_the_metrics_and_intervals():
    predictions = table()
    row = score(predictions)
    probabilities = softmax(predictions.logits)
    assert row["metrics"]["accuracy"] == predictions.accuracy
    assert row["metrics"]["ece"] == expected_calibration_error(probabilities, predictions.labels)
    assert row["intervals"]["accuracy"] == list(clopper_pearson(int(predictions.correct.sum()), 60))
    resampled = bootstrap(probabilities.max(axis=1), predictions.correct)
    assert row["intervals"]["ece"] == list(resampled.interval("ece", method="basic"))


def test_meta_may_be_empty():
    bare = Predictions(("a",), np.array([0]), np.array([[1.0, 0.0]], dtype=np.float32))
    row = score(bare, scoring=QUICK)
    assert (row["model"], row["data"], row["role"], row["alpha"], row["severity"]) == ("", "", "id", None, None)


def test_unlabelled_samples_are_left_out():
    predictions = table()
    labels = predictions.labels.copy()
    labels[::3] = -1
    partly = Predictions(predictions.ids, labels, predictions.logits, predictions.meta)
    kept = np.flatnonzero(labels >= 0)
    only = Predictions(
        tuple(predictions.ids[i] for i in kept), labels[kept], predictions.logits[kept], predictions.meta
    )
    assert score(partly, scoring=QUICK) == score(only, scoring=QUICK)


def test_chosen_metrics_and_no_intervals():
    row = score(table(), scoring=Scoring(metrics=("batch_averaged_ece", "worst_class_recall"), resamples=0))
    assert list(row["metrics"]) == ["batch_averaged_ece", "worst_class_recall"] and row["intervals"] == {}


def test_a_higher_level_gives_wider_intervals():
    wide, narrow = (score(table(), scoring=Scoring(level=level)) for level in (0.99, 0.5))
    for metric in ("accuracy", "ece"):
        assert wide["intervals"][metric][0] < narrow["intervals"][metric][0]
        assert wide["intervals"][metric][1] > narrow["intervals"][metric][1]


# --- corruptions ------------------------------------------------------------------------------------------------------


def test_a_corruption_is_the_mean_over_severities():
    severities = [shift("noise", "corruption", severity) for severity in (1, 2, 3)]
    row = score_group(severities, scoring=QUICK)
    singles = [score(each, scoring=QUICK) for each in severities]
    assert (row["data"], row["severity"], row["n"], row["group"]) == ("digits/noise", None, 180, "corruption")
    for metric in DEFAULT_METRICS:
        assert row["metrics"][metric] == pytest.approx(np.mean([single["metrics"][metric] for single in singles]))
    low, high = row["intervals"]["accuracy"]
    assert low <= row["metrics"]["accuracy"] <= high
    assert row["hashes"] == {"weights": "w"}


def test_hashes_that_differ_between_severities_are_left_out():
    severities = [shift("noise", "corruption", severity, data_hash=f"d{severity}") for severity in (1, 2)]
    assert score_group(severities, scoring=NOTHING)["hashes"] == {"weights": "w"}


def test_tables_in_any_order_give_a_row_each_and_one_per_corruption():
    sets = [table(), shift("invert", "natural"), *(shift("noise", "corruption", s) for s in (1, 2))]
    # As the sweep yields them: for every data set, one table per alpha.
    tables = [
        Predictions(each.ids, each.labels, each.logits, {**each.meta, "model": model, "alpha": alpha})
        for each in sets
        for model, alpha in (("zero-shot", "0.0"), ("interpolated", "0.5"))
    ]
    rows = score_tables(iter(tables), run="r", method="full", scoring=QUICK)
    of_one = [row for row in rows if row["alpha"] == 0.5]
    names = ["digits", "digits/invert", "digits/noise-1", "digits/noise-2", "digits/noise"]
    assert [row["data"] for row in of_one] == names and len(rows) == 10
    assert [row["severity"] for row in of_one] == [None, None, 1, 2, None]
    assert {row["run"] for row in rows} == {"r"} and {row["method"] for row in rows} == {"full"}
    assert {row["model"] for row in of_one} == {"interpolated"}
    assert of_one[-1] == score_group(
        [each for each in tables if each.meta["alpha"] == "0.5" and each.meta["severity"] != "0"],
        run="r", method="full", scoring=QUICK,
    )  # fmt: skip


def test_a_shift_whose_name_ends_in_a_number_keeps_it():
    rows = score_tables([shift("mnist-2", "natural"), shift("blur-2", "corruption", 2)], scoring=NOTHING)
    assert [row["data"] for row in rows] == ["digits/mnist-2", "digits/blur-2-2", "digits/blur-2"]


def test_groups_that_do_not_belong_together_are_refused():
    with pytest.raises(CallError, match="no table to average over"):
        score_group([])
    with pytest.raises(CallError, match=r"2 different models or corruptions .* digits/blur; .* digits/noise"):
        score_group([shift("noise", "corruption", 1), shift("blur", "corruption", 2)])
    with pytest.raises(CallError, match="2 different models or corruptions"):
        score_group([shift("noise", "corruption", 1, alpha="0.0"), shift("noise", "corruption", 2, alpha="0.5")])
    with pytest.raises(CallError, match="a severity of digits/noise is there twice"):
        score_group([shift("noise", "corruption", 1), shift("noise", "corruption", 1)])


# --- means over shifts ------------------------------------------------------------------------------------------------


def test_every_shift_weighs_the_same():
    sets = [table(), shift("invert", "natural"), shift("canvas", "natural")]
    rows = score_tables([*sets, *(shift("noise", "corruption", s) for s in (1, 2, 3))], scoring=NOTHING)
    value = {row["data"]: row["metrics"]["ece"] for row in rows}
    natural = [value["digits/invert"], value["digits/canvas"]]
    assert mean_over_shifts(rows, "ece", "natural") == pytest.approx(np.mean(natural))
    assert mean_over_shifts(rows, "ece", "corruption") == value["digits/noise"]
    assert mean_over_shifts(rows, "ece") == pytest.approx(np.mean([*natural, value["digits/noise"]]))
    assert mean_over_shifts(rows[:1]) is None


def test_mixed_models_are_not_averaged():
    rows = score_tables([shift("invert", "natural"), shift("invert", "natural", model="other")], scoring=NOTHING)
    with pytest.raises(CallError, match=r"two rows for 'digits/invert'.*one model at one alpha"):
        mean_over_shifts(rows)
    with pytest.raises(CallError, match="has no 'f1'; it has accuracy, ece"):
        mean_over_shifts(rows[:1], "f1")


# --- undefined --------------------------------------------------------------------------------------------------------


def test_tables_without_labels_or_with_broken_logits_name_themselves():
    predictions = table("digits/invert")
    unlabelled = Predictions(predictions.ids, np.full(60, -1), predictions.logits, predictions.meta)
    with pytest.raises(VlmDataError, match=r"no sample of digits/invert has a label \(60 samples\)"):
        score(unlabelled)
    empty = Predictions((), np.zeros(0, dtype=np.int64), np.zeros((0, 4), dtype=np.float32))
    with pytest.raises(VlmDataError, match=r"no sample of the table has a label \(0 samples\)"):
        score(empty)
    broken = predictions.logits.copy()
    broken[7, 2] = np.nan
    with pytest.raises(
        VlmDataError, match=r"cannot score digits/invert: .* 1 of 60 samples are not finite, first at row 7"
    ):
        score(Predictions(predictions.ids, predictions.labels, broken, predictions.meta))
    with pytest.raises(CallError, match=r"unknown metric 'eec'\. Did you mean 'ece'\?"):
        score(predictions, scoring=Scoring(metrics=("eec",)))
