"""A shift that has classes of its own, made of those of the benchmark: every path to a score projects first."""

import dataclasses

import numpy as np
import pytest

from vlm_data import load_benchmark
from vlm_data.benchmark import Shift
from vlm_data.errors import CallError
from vlm_data.tables import Predictions
from vlm_eval import predict
from vlm_eval.evaluation import evaluate
from vlm_eval.projection import matched_reference, project
from vlm_eval.sweep import evaluate_interpolations
from vlm_eval.tracking import ShiftTracker
from vlm_models import load_encoder
from vlm_models.zero_shot import zero_shot_classifier

CLASSES = ((3,), (8, 9))
"""Threes, and eights or nines."""


@pytest.fixture(scope="module")
def digits():
    benchmark = load_benchmark("digits", limit=100)
    whole = benchmark.shifts[0].datasets[0]
    kept = whole.select(np.flatnonzero(np.isin(whole.labels, (3, 8, 9))).tolist())
    some = dataclasses.replace(kept, labels=(kept.labels > 3).astype(np.int64))
    return dataclasses.replace(benchmark, shifts=(Shift("some", "natural", (some,), CLASSES),))


@pytest.fixture(scope="module")
def model(digits):
    return zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)


@pytest.fixture(scope="module")
def expected(digits, model):
    """Logits of three and of the likelier of eight and nine."""
    whole = predict(model, digits.shifts[0].datasets[0]).logits
    return np.stack([whole[:, 3], whole[:, 8:].max(axis=1)], axis=1)


def test_predictions_hold_the_projected_logits(digits, model, expected):
    table = predict(model, digits.shifts[0].datasets[0], classes=CLASSES)
    np.testing.assert_array_equal(table.logits, expected)
    assert table.accuracy > 0.6


def test_scores_and_hashes_tell_the_classes(digits, model, expected, tmp_path):
    rows = evaluate(model, digits, tmp_path)
    row = next(row for row in rows if row["role"] == "shift")
    hits = expected.argmax(axis=1) == digits.shifts[0].datasets[0].labels
    assert row["metrics"]["accuracy"] == hits.mean() and row["n"] == len(hits)
    assert "classes" in row["hashes"] and "classes" not in rows[0]["hashes"]
    other = dataclasses.replace(digits.shifts[0], classes=((8, 9), (3,)))
    changed = evaluate(model, dataclasses.replace(digits, shifts=(other,)), tmp_path)  # not read from the old table
    assert next(row for row in changed if row["role"] == "shift")["metrics"]["accuracy"] == (~hits).mean()


def test_every_alpha_is_projected(digits, model, expected):
    sets = [found for found in digits.evaluation_sets() if found.role == "shift"]
    tables = list(evaluate_interpolations(model, model, sets, [0.0, 0.5, 1.0]))
    for table in tables:
        np.testing.assert_allclose(table.logits, expected, rtol=1e-5)
        assert table.logits.shape == (len(table), 2)


@pytest.mark.parametrize("frozen", [True, False])
def test_tracking_compares_with_the_chance_of_these_classes(digits, model, expected, frozen):
    tracker = ShiftTracker(digits, model, 1000, "cpu")
    name = digits.shifts[0].datasets[0].name
    hits = expected.argmax(axis=1) == digits.shifts[0].datasets[0].labels
    assert tracker.start == {name: pytest.approx(hits.mean())}
    assert tracker(model, frozen) == ({"shifts": tracker.start}, [])
    tracker.start[name] = 0.75  # of two classes a quarter above chance
    assert bool(tracker(model, frozen)[1]) == (hits.mean() < 0.625)


def test_the_matched_reference_has_the_same_classes_in_distribution(digits, model):
    table = predict(model, digits.test)
    kept = matched_reference(table, CLASSES)
    shown = np.isin(table.labels, (3, 8, 9))
    assert kept.ids == tuple(np.array(table.ids)[shown])
    np.testing.assert_array_equal(kept.labels, table.labels[shown] > 3)
    np.testing.assert_array_equal(kept.logits, project(table.logits, CLASSES)[shown])
    assert kept.meta["classes_hash"] and kept.accuracy > table.accuracy - 0.5
    with pytest.raises(CallError, match=r"none of \d+ images shows one of the 2 classes"):
        matched_reference(Predictions(table.ids, np.full(len(table), 5), table.logits), CLASSES)


def test_nothing_is_done_to_logits_of_the_own_classes():
    logits = np.eye(3)
    assert project(logits, ()) is logits
