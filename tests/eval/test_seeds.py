import numpy as np
import pytest

from vlm_eval.many_runs.seeds import as_csv, main_columns, seed_scores


def rows(accuracy, alpha=0.5):
    base = {"run": "r", "method": "full", "split": "test", "severity": None, "intervals": {}}
    for model, weight, gain in (("zero-shot", 0.0, 0.0), ("fine-tuned", 1.0, 0.2), ("interpolated", alpha, 0.1)):
        for data, role, group, loss in (
            ("d", "id", "", 0),
            ("d/a", "shift", "natural", 0.1),
            ("d/b", "shift", "natural", 0.3),
        ):
            metrics = {"accuracy": accuracy + gain - loss, "ece": 0.1}
            yield {
                **base,
                "model": model,
                "alpha": weight,
                "data": data,
                "role": role,
                "group": group,
                "metrics": metrics,
            }


def test_mean_and_deviation_over_seeds():
    accuracies = [0.5, 0.6, 0.55]
    scores = seed_scores("full", [list(rows(one)) for one in accuracies], [0.5] * 3)
    found = {(score.model, score.column, score.metric): score for score in scores}
    tuned = found["fine-tuned", "ID", "accuracy"]
    assert (tuned.mean, tuned.deviation, tuned.seeds) == pytest.approx((0.75, np.std(accuracies, ddof=1), 3))
    assert found["zero-shot", "mean of natural shifts", "accuracy"].mean == pytest.approx(0.55 - 0.2)
    assert found["interpolated", "a", "ece"].deviation == pytest.approx(0)


def test_each_run_has_its_own_alpha():
    scores = seed_scores("full", [list(rows(0.5, 0.3)), list(rows(0.5, 0.7))], [0.3, 0.7], ["accuracy"])
    mixed = [score for score in scores if score.model == "interpolated" and score.column == "ID"]
    assert mixed[0].mean == pytest.approx(0.6) and mixed[0].seeds == 2


def test_a_single_run_has_no_deviation():
    scores = seed_scores("full", [list(rows(0.5))], [0.5])
    assert {score.deviation for score in scores} == {None}
    assert as_csv(scores).count("\n") == len(scores) + 1
    assert main_columns(rows(0.5)) == ["ID", "mean of natural shifts"]
