"""The worst group in rows of scores and in paired tests of models."""

import dataclasses

import numpy as np
import pytest

from vlm_data.tables import Predictions
from vlm_eval.comparing.paired import compare_groups, group_runs
from vlm_eval.comparing.worst_groups import worst_group_change
from vlm_eval.scores import Scoring, score, score_group

N = 240


def table(without_feature, seed=0, n=N, classes=3, **meta):
    """A model that is right in 95 % of images, but in class 1 without the feature only as often as told."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    values = np.where(np.arange(n) // classes % 2 == 0, "with", "without")
    chance = np.where((labels == 1) & (values == "without"), without_feature, 0.95)
    answers = np.where(rng.random(n) < chance, labels, (labels + 1) % classes)
    logits = 3 * np.eye(classes, dtype=np.float32)[answers]
    facts = {"data": "toy", "split": "test", "alpha": "1.0", **meta}
    return Predictions(tuple(f"image-{i}" for i in range(n)), labels, logits, facts, {"feature": tuple(values)})


def plain_worst(one, rows=None):
    """The lowest accuracy of a (class, value) cell, by loops."""
    rows = range(len(one)) if rows is None else rows
    cells = {}
    for row in rows:
        cells.setdefault((one.labels[row], one.groups["feature"][row]), []).append(one.correct[row])
    return min(np.mean(found) for found in cells.values())


def test_a_row_tells_the_worst_group_beside_the_overall_accuracy():
    one = table(0.2)
    metrics = score(one, scoring=Scoring(resamples=0)).get("metrics", {})
    assert metrics["worst_group_accuracy"] == plain_worst(one) < 0.4 < metrics["accuracy"]
    assert metrics["worst_group_size"] == N / 6 and metrics["empty_groups"] == 0
    asked = score(one, scoring=Scoring(metrics=("worst_group_accuracy",), resamples=0))["metrics"]
    assert asked["worst_group_accuracy"] == metrics["worst_group_accuracy"]


def test_data_without_groups_have_no_worst_group():
    plain = dataclasses.replace(table(0.2), groups={})
    assert "worst_group_accuracy" not in score(plain)["metrics"]
    assert worst_group_change([plain], [plain]) is None


def test_samples_without_a_label_are_in_no_group():
    one = table(0.2)
    labels = np.where(np.arange(N) < N // 2, one.labels, -1)
    half = dataclasses.replace(one, labels=labels)
    kept = range(N // 2)
    assert score(half)["metrics"]["worst_group_accuracy"] == plain_worst(one, kept)
    assert worst_group_change([half], [half]).before == plain_worst(one, kept)


def test_a_corruption_tells_the_mean_worst_group_of_its_severities():
    parts = [table(0.2, data="toy/blur-1", severity="1"), table(0.6, data="toy/blur-2", severity="2")]
    row = score_group(parts, scoring=Scoring(resamples=0))
    assert row["metrics"]["worst_group_accuracy"] == pytest.approx(np.mean([plain_worst(one) for one in parts]))


def test_the_interval_is_that_of_resampled_images_drawn_alike_for_both_sides():
    first, second, resamples = table(0.3), table(0.7, seed=1), 400
    found = worst_group_change([first], [second], resamples=resamples)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, N, (resamples, N))
    differences = [plain_worst(second, rows) - plain_worst(first, rows) for rows in drawn]
    observed = plain_worst(second) - plain_worst(first)
    low, high = np.quantile(differences, [0.025, 0.975])
    assert (found.before, found.after) == (plain_worst(first), plain_worst(second))
    assert (found.low, found.high) == (pytest.approx(2 * observed - high), pytest.approx(2 * observed - low))
    assert found.direction == "higher"


def test_a_model_does_not_differ_from_itself_and_seeds_widen_the_interval():
    one = table(0.3)
    assert worst_group_change([one], [one], resamples=50).high == 0.0
    seeds = [table(0.3, seed=seed) for seed in range(3)]
    others = [table(0.8, seed=seed + 10) for seed in range(3)]
    found = worst_group_change(seeds, others)
    assert found.before == pytest.approx(np.mean([plain_worst(one) for one in seeds]))
    assert found.low < found.difference < found.high and found.direction == "higher"


def test_comparing_runs_tells_it_for_every_data_set_with_groups(tmp_path):
    for method, share in (("full", 0.2), ("region-aware", 0.9)):
        run = tmp_path / method
        run.mkdir()
        (run / "recipe.toml").write_text(f'[method]\nname = "{method}"\n')
        table(share, seed=3).save(run / "predictions" / "toy.test.alpha-1.00.parquet")
        shifted = table(share, data="toy/dark", group="natural")
        dataclasses.replace(shifted, groups={}).save(run / "predictions" / "toy-dark.test.alpha-1.00.parquet")
    first, second = group_runs([tmp_path / "full", tmp_path / "region-aware"])
    known, shifted = compare_groups(first, second, resamples=200)
    assert known.worst_group == worst_group_change([table(0.2, seed=3)], [table(0.9, seed=3)], resamples=200)
    assert known.worst_group.direction == "higher" and known.accuracy.after > known.accuracy.before
    assert shifted.data == "toy/dark" and shifted.worst_group is None
