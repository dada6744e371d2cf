import pytest

from vlm_data.errors import CallError
from vlm_eval.comparing.row_tables import compare, keep_metrics
from vlm_eval.scores import Scoring, score_tables
from vlm_eval.wise_results import wise_rows


def _row(data, run=None, model="tiny", **facts):
    role = {"role": "shift", "group": "natural"} if "/" in data else {"role": "id", "group": ""}
    base = {"run": run, "method": None, "model": model, "alpha": None, "split": "test", "severity": None, "n": 10}
    return {**base, **role, "data": data, "metrics": {"accuracy": 0.5}, "intervals": {}, "hashes": {}, **facts}


def test_runs_and_benchmarks_get_tables_of_their_own():
    rows = [_row("digits"), _row("digits/invert"), _row("pets"), _row("pets/sketch"), _row("digits", run="runs/a")]
    found = [(part.run, part.benchmark, len(part.table.columns)) for part in compare(rows)]
    assert found == [(None, "digits", 2), (None, "pets", 2), ("runs/a", "digits", 1)]


def test_data_sets_without_shifts_share_a_table_with_a_column_each():
    (part,) = compare([_row("cats"), _row("dogs"), _row("cats", model="other")])
    assert [column.label for column in part.table.columns] == ["cats", "dogs"]
    assert len(part.table.lines) == 2


def test_a_sweep_of_the_wise_ft_program_is_one_table():
    lines = [
        {"alpha": alpha, "ImageNet:top1": 0.7, "ImageNetA:top1": 0.4, "exp_name": "sweep"} for alpha in (0.0, 0.5, 1.0)
    ]
    (part,) = compare([row for line in lines for row in wise_rows(line)])
    assert (part.run, part.method, part.benchmark) == ("sweep", "wise-ft", "")
    assert [line.alpha for line in part.table.lines] == [0.0, 0.5, 1.0]


def test_severities_and_the_other_split_are_left_out(made_tables):
    rows = score_tables(made_tables(alphas=(0.0, 1.0)), scoring=Scoring(resamples=0))
    (part,) = compare(rows)
    assert not [column for column in part.table.columns if column.key.endswith("-1")]
    (val,) = compare(rows, "val")
    assert [column.key for column in val.table.columns] == ["made"]


def test_rows_keep_the_metrics_asked_for():
    rows = [
        _row("a", metrics={"accuracy": 0.5, "nll": 1.0}, intervals={"accuracy": [0.4, 0.6]}),
        _row("b", metrics={"accuracy": 0.25}),
    ]
    kept = keep_metrics(rows, ["nll"])
    assert [(row["data"], row["metrics"], row["intervals"]) for row in kept] == [("a", {"nll": 1.0}, {})]
    assert keep_metrics(rows, ["accuracy"])[0]["intervals"] == {"accuracy": [0.4, 0.6]}
    with pytest.raises(CallError, match=r"unknown metric 'accurcy'\. Did you mean 'accuracy'"):
        keep_metrics(rows, ["accurcy"])
    assert keep_metrics([], ["accurcy"]) == []
