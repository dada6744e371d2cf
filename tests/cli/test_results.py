"""`vlm results`: the latest rows, as a table or as JSON, whatever the file has been through."""

import json

import pytest

from vlm_eval.results import append


@pytest.fixture
def database(workplace):
    return workplace / "runs" / "results.jsonl"


@pytest.fixture
def copied(database, tmp_path):
    copy = tmp_path / "copied.jsonl"
    copy.write_bytes(database.read_bytes())
    return copy


def test_json_gives_the_rows_of_the_run(vlm, database, finetune_answer):
    rows = vlm("results", "--json").document["rows"]
    assert len(rows) == len(finetune_answer.document["curve"])
    shown = {(row["data"], row["alpha"]): row["metrics"] for row in rows if row["split"] == "test"}
    for row in finetune_answer.document["rows"]:
        assert shown[row["data"], row["alpha"]] == row["metrics"]


def test_filters_narrow_the_rows(vlm, database):
    rows = vlm(
        "results", "--model", "fine-tuned", "--data", "digits/*", "--split", "test", "--metric", "nll", "--json"
    ).document["rows"]
    assert rows and all(row["model"] == "fine-tuned" and row["data"].startswith("digits/") for row in rows)
    assert all(set(row["metrics"]) == {"nll"} and row["intervals"] == {} for row in rows)
    assert {row["alpha"] for row in vlm("results", "--alpha", "0.3", "--json").document["rows"]} == {0.3}


def test_the_table_shows_what_was_asked_for(vlm, database):
    answer = vlm("results", "--run", "*seed0", "--alpha", "1", "--metric", "accuracy", "--metric", "nll")
    assert answer.code == 0 and answer.err == ""
    assert "runs/digits-tiny-full-seed0 digits (full)" in answer.out
    assert "acc" in answer.out and "nll" in answer.out and "ECE" not in answer.out
    assert "zero-shot" not in answer.out
    validation = vlm("results", "--split", "val", "--alpha", "1").out
    assert "ID" in validation and "invert" not in validation


def test_a_cut_line_is_reported_and_skipped(vlm, copied):
    whole = vlm("results", copied, "--json").document["rows"]
    with open(copied, "ab") as file:
        file.write(b'{"schema": 1, "model": "tin')
    answer = vlm("results", copied, "--json")
    assert answer.code == 0 and answer.document["rows"] == whole
    number = len(copied.read_bytes().splitlines())
    assert f"line {number}" in answer.err and answer.err.startswith("warning: ") and answer.err.count("\n") == 1


def test_of_a_repeated_measurement_the_latest_counts(vlm, copied):
    rows = vlm("results", copied, "--json").document["rows"]
    changed = {**rows[0], "metrics": {**rows[0]["metrics"], "accuracy": 0.125}}
    append(copied, [changed])
    again = vlm("results", copied, "--json").document["rows"]
    assert len(again) == len(rows)
    assert [row["metrics"]["accuracy"] for row in again].count(0.125) == 1


def test_a_database_of_the_wise_ft_program_is_read(vlm, tmp_path):
    lines = [
        {
            "alpha": alpha,
            "ImageNet:top1": 0.68 + 0.1 * alpha,
            "ImageNetSketch:top1": 0.5 - 0.1 * alpha,
            "exp_name": "sweep",
        }
        for alpha in (0.0, 0.5, 1.0)
    ]
    (tmp_path / "wise.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    answer = vlm("results", "wise.jsonl")
    assert answer.code == 0
    assert "sweep (wise-ft)" in answer.out and "interpolated" in answer.out and "73.0" in answer.out
    assert "ECE" not in answer.out  # that program does not write it
    rows = vlm("results", "wise.jsonl", "--data", "ImageNetSketch", "--json").document["rows"]
    assert [row["metrics"]["accuracy"] for row in rows] == [0.5, 0.45, 0.4]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "fine-tund"], "unknown model 'fine-tund'. Did you mean 'fine-tuned'?"),
        (["--data", "digit/invert"], "Did you mean 'digits/invert'?"),
        (["--run", "runs/digits-tiny-full-seed1"], "Did you mean 'runs/digits-tiny-full-seed0'?"),
        (["--metric", "accuracey"], "unknown metric 'accuracey'. Did you mean 'accuracy'?"),
    ],
)
def test_an_unknown_name_offers_the_nearest(vlm, database, arguments, said):
    answer = vlm("results", *arguments)
    assert answer.code == 2 and said in answer.paragraph and answer.out == ""


def test_filters_that_exclude_each_other_leave_nothing_and_say_so(vlm, database):
    answer = vlm("results", "--data", "digits/invert", "--split", "val")
    assert answer.code == 0 and "none of them fits" in answer.out
    assert vlm("results", "--data", "digits/invert", "--split", "val", "--json").document == {"rows": []}


def test_a_missing_database_is_told(vlm):
    answer = vlm("results")
    assert answer.code == 1 and "cannot read the results database runs/results.jsonl" in answer.paragraph


def test_results_of_other_programs_are_taken_in_and_given_out(vlm, database, copied, tmp_path):
    (tmp_path / "stats.tsv").write_text("\tepoch\tImageNet Accuracy\tImageNet ECE\n0\t10\t0.8260\t0.0640\n")
    (tmp_path / "result.json").write_text(
        json.dumps({"dataset": "cars", "model": "ViT-B-32", "pretrained": "openai", "metrics": {"acc1": 0.6}})
    )
    before = len(vlm("results", copied, "--json").document["rows"])
    answer = vlm("results", copied, "--import", tmp_path / "stats.tsv", "--import", tmp_path / "result.json", "--json")
    assert answer.code == 0 and len(answer.document["rows"]) == before + 2
    assert "stats.tsv (carot-stats): 1 rows into" in answer.err
    exported = vlm("results", copied, "--data", "digits*", "--export", "wise-ft", tmp_path / "sweep.jsonl")
    assert exported.code == 0 and "sweep.jsonl (wise-ft)" in exported.err
    shown = {
        (row["data"], row["alpha"]): row["metrics"]["accuracy"]
        for row in vlm("results", tmp_path / "sweep.jsonl", "--json").document["rows"]
    }
    ours = vlm("results", copied, "--data", "digits*", "--split", "test", "--json").document["rows"]
    assert shown == {(row["data"], row["alpha"]): row["metrics"]["accuracy"] for row in ours if row["severity"] is None}


def test_a_file_that_cannot_be_taken_in_leaves_the_database_as_it_was(vlm, copied, tmp_path):
    (tmp_path / "good.tsv").write_text("\tepoch\tImageNet Accuracy\n0\t10\t0.8260\n")
    (tmp_path / "bad.tsv").write_text("nothing\n")
    before = copied.read_bytes()
    answer = vlm("results", copied, "--import", tmp_path / "good.tsv", "--import", tmp_path / "bad.tsv")
    assert answer.code == 1 and "bad.tsv holds no results that can be read" in answer.paragraph
    assert copied.read_bytes() == before
    answer = vlm("results", copied, "--export", "wise", tmp_path / "sweep.jsonl")
    assert answer.code == 2 and "Did you mean 'wise-ft'?" in answer.paragraph
    assert not (tmp_path / "sweep.jsonl").exists()
