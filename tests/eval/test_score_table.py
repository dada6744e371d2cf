import itertools

import pytest

from vlm_data.errors import CallError
from vlm_eval.score_table import MEAN, Score, score_table
from vlm_eval.summary import oracle_alphas, summary_table


def row(data, accuracy, *, alpha=0.0, group="", severity=None, split="test", ece=0.1, interval=0.05):
    role = "shift" if group else "id"
    metrics = {"accuracy": accuracy, "ece": ece}
    intervals = {"accuracy": [accuracy - interval, accuracy + interval]} if interval else {}
    names = {0.0: "zero-shot", 1.0: "fine-tuned"}
    return {
        "model": names.get(alpha, "interpolated"), "run": "runs/a", "method": "full", "alpha": alpha, "data": data,
        "split": split, "role": role, "group": group, "severity": severity, "n": 10, "metrics": metrics,
        "intervals": intervals, "hashes": {},
    }  # fmt: skip


def rows_of(scores, **facts):
    """Rows of one model: scores by data set; names with `-` belong to corruptions."""
    groups = {"d": "", "d/a": "natural", "d/b": "natural", "d/noise": "corruption", "d/blur": "corruption"}
    return [row(data, value, group=groups[data], **facts) for data, value in scores.items()]


def test_columns_are_id_natural_shifts_corruptions_means():
    rows = rows_of({"d/noise": 0.5, "d/a": 0.5, "d": 0.5, "d/b": 0.5, "d/blur": 0.5})
    assert [column.label for column in score_table(rows).columns] == [
        "ID", "a", "b", "noise", "blur", "mean of natural shifts", "mean of corruptions", "mean of all shifts",
    ]  # fmt: skip


def test_a_mean_counts_every_shift_once_and_keeps_to_its_group():
    table = score_table(rows_of({"d": 1.0, "d/a": 0.2, "d/b": 0.4, "d/noise": 0.9}))
    cells = table.lines[0].cells
    assert cells["mean/natural"]["accuracy"].value == pytest.approx(0.3)
    assert cells["mean/all"]["accuracy"].value == pytest.approx(0.5)
    assert "mean/corruption" not in cells, "one corruption is its own mean"


def test_the_interval_of_a_mean_is_never_shorter_than_that_of_independent_shifts():
    table = score_table(rows_of({"d": 1.0, "d/a": 0.2, "d/b": 0.4}))
    score = table.lines[0].cells["mean/natural"]["accuracy"]
    assert (score.low, score.high) == (pytest.approx(0.25), pytest.approx(0.35))


def test_without_intervals_there_is_none_of_the_mean():
    table = score_table([*rows_of({"d/a": 0.2}), *rows_of({"d/b": 0.4}, interval=0)])
    assert table.lines[0].cells["mean/natural"]["accuracy"] == Score(pytest.approx(0.3))


def test_a_model_that_was_not_scored_on_all_shifts_has_no_mean():
    table = score_table([*rows_of({"d/a": 0.2, "d/b": 0.4}), *rows_of({"d/a": 0.9}, alpha=1.0)])
    complete, partial = table.lines
    assert "mean/natural" in complete.cells and "mean/natural" not in partial.cells


def test_severities_and_other_splits_are_left_out():
    rows = [row("d", 0.5), row("d", 0.9, split="val"), row("d/noise-1", 0.1, group="corruption", severity=1)]
    table = score_table(rows)
    assert [column.key for column in table.columns] == ["d"]
    assert table.lines[0].cells["d"]["accuracy"].value == 0.5


def test_models_without_alpha_keep_their_names():
    rows = [{**row("d", 0.5), "alpha": None, "model": name} for name in ("tiny", "openclip:ViT-B-32")]
    assert [line.model for line in score_table(rows).lines] == ["tiny", "openclip:ViT-B-32"]


def test_two_rows_for_one_thing_are_refused():
    with pytest.raises(CallError, match="zero-shot has two test rows for 'd'"):
        score_table([row("d", 0.5), row("d", 0.6)])


def test_shifts_of_the_same_short_name_are_told_apart():
    rows = [row("x/a", 0.5, group="natural"), row("y/a", 0.5, group="natural")]
    labels = [column.label for column in score_table(rows).columns if column.group != MEAN]
    assert labels == ["x/a", "y/a"]


@pytest.mark.parametrize("alpha", [0.5, 0.0, 1.0])
def test_the_summary_names_three_models_whatever_alpha_was_chosen(alpha):
    rows = itertools.chain.from_iterable(rows_of({"d": 0.5 + a / 4}, alpha=a) for a in (0.0, 0.5, 1.0))
    summary = summary_table(rows, alpha)
    assert [line.model for line in summary.lines] == ["zero-shot", "fine-tuned", "interpolated"]
    assert summary.lines[2].alpha == alpha
    assert summary.lines[2].cells["d"]["accuracy"].value == 0.5 + alpha / 4


def test_rows_that_tell_the_chosen_end_twice_make_three_lines():
    rows = rows_of({"d": 0.5}) + rows_of({"d": 0.75}, alpha=1.0)
    rows += [{**found, "model": "interpolated"} for found in rows_of({"d": 0.75}, alpha=1.0)]
    assert len(summary_table(rows, 1.0).lines) == 3


def test_the_summary_leaves_out_an_alpha_that_was_not_evaluated():
    assert [line.model for line in summary_table(rows_of({"d": 0.5}), 0.5).lines] == ["zero-shot"]


def test_the_oracle_is_the_best_of_each_column_and_knows_which_way_is_better():
    rows = [
        row("d", accuracy, alpha=alpha, ece=ece)
        for alpha, accuracy, ece in [(0.0, 0.5, 0.1), (0.5, 0.75, 0.3), (1.0, 0.75, 0.2)]
    ]
    table = score_table(rows)
    assert oracle_alphas(table) == {"d": 0.5}, "the smaller alpha wins a tie"
    assert oracle_alphas(table, "ece") == {"d": 0.0}
