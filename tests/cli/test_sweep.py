"""`vlm sweep`: every combination, finished runs skipped, one table."""

import csv
from pathlib import Path

import numpy as np
import pytest

SMALL = ("--limit", "16", "--epochs", "1", "--set", "evaluation.alphas=[0.0,1.0]", "--set", "evaluation.track=0")


def test_runs_are_made_once_and_end_in_a_table(vlm):
    call = ("sweep", "--grid", "training.lr=1e-3,1e-2", "--seeds", "0,1", *SMALL, "--out", "runs")
    first = vlm(*call, "--job", "1/2", "--json").document
    assert (len(first["runs"]), first["missing"]) == (2, 2)
    whole = vlm(*call, "--json").document
    assert (len(whole["runs"]), whole["missing"]) == (4, 0)
    finished = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/DONE")}
    assert len(finished) == 4
    answer = vlm(*call)
    assert {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/DONE")} == finished
    assert "lr=1e-2, fine-tuned" in answer.out and "±" in answer.out and "interpolated, alpha 0.5" in answer.out
    assert whole["figures"][0] == "runs/figures/curve-fine-tuned.png" and Path(whole["figures"][0]).exists()
    assert all(figure in answer.out for figure in whole["figures"]) and answer.err.count("is finished") == 4
    lines = list(csv.DictReader(Path("runs/table.csv").read_text().splitlines()))
    found = [line for line in lines if (line["column"], line["metric"]) == ("ID", "accuracy")]
    rows = [vlm("finetune", "--recipe", f"runs/lr=1e-2-seed{seed}/recipe.toml", "--out", f"runs/lr=1e-2-seed{seed}",
                "--json").document["rows"] for seed in (0, 1)]  # fmt: skip
    accuracies = [
        next(row["metrics"]["accuracy"] for row in run
             if row["model"] == "fine-tuned" and row["role"] == "id" and row["split"] == "test")
        for run in rows
    ]  # fmt: skip
    assert {line["training.lr"] for line in found} == {"0.001", "0.01"}
    line = next(line for line in found if (line["name"], line["model"]) == ("lr=1e-2", "fine-tuned"))
    assert float(line["mean"]) == pytest.approx(np.mean(accuracies))
    assert float(line["deviation"]) == pytest.approx(np.std(accuracies, ddof=1))


def test_dry_run_numbers_the_runs(vlm):
    document = vlm("sweep", "--grid", "method.name=full,flyp", "--out", "runs", "--dry-run", "--json").document
    assert [run["run"] for run in document["runs"]] == ["runs/full-seed0", "runs/flyp-seed0"]
    assert not Path("runs").exists()


def test_a_list_names_its_runs_and_leaves_the_rest_to_their_recipes(vlm):
    Path("points.toml").write_text('[[point]]\nmethod.name = "flyp"\n[[point]]\nname = "own"\ntraining.lr = 1e-2\n')
    call = ("sweep", "--points", "points.toml", "--seeds", "0,1", *SMALL, "--out", "runs")
    document = vlm(*call, "--dry-run", "--json").document
    assert [run["run"] for run in document["runs"]] == [
        "runs/flyp-seed0", "runs/flyp-seed1", "runs/own-seed0", "runs/own-seed1",
    ]  # fmt: skip
    assert document["runs"][2]["settings"] == ["training.lr=1e-2"]
    Path("points.toml").write_text("[[point]]\ntraining.rate = 1\n")
    assert "rate=1-seed0 cannot be run: --set and flags" in vlm(*call).paragraph
    Path("points.toml").write_text("[[points]]\ntraining.lr = 1\n")
    assert "nothing but tables [[point]]" in vlm(*call).paragraph and not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--grid", "training.rate=1,2"), "table [training] has no key 'rate'"),
        (("--grid", "training.lr=1,-1"), "expected more than 0"),
        (("--seeds", "a"), "no list of whole numbers"),
        (("--grid", "method.name=full,flyp", "--method", "flyp"), "method.name is varied, and has a flag"),
        (("--points", "missing.csv"), "cannot read missing.csv"),
        (("--job", "3/2"), "is no job of an array"),
    ],
)
def test_wrong_calls_begin_nothing(vlm, arguments, message):
    answer = vlm("sweep", *arguments, *SMALL, "--out", "runs")
    assert answer.code != 0 and message in answer.paragraph and not Path("runs").exists()
