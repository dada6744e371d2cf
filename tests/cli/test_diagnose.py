"""`vlm diagnose`: what is measured, where it is kept, and what is refused."""

import csv
import json
import shutil
from pathlib import Path

import pytest

RUN = "runs/digits-tiny-full-seed0"


@pytest.fixture
def run(workplace, tmp_path, monkeypatch):
    """A copy of the run: diagnostics are kept in it."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(workplace / RUN, tmp_path / "run").relative_to(tmp_path)


def test_a_run_keeps_what_is_found(vlm, run):
    answer = vlm("diagnose", run, "tiny", "--json")
    models = {(model["spec"], model["model"]): model for model in answer.document["models"]}
    assert list(models) == [("run:run", "fine-tuned"), ("run:run", "zero-shot"), ("tiny", "tiny")]
    assert models["run:run", "zero-shot"]["effective_rank"] == models["tiny", "tiny"]["effective_rank"]
    assert all((model["n"], model["d"]) == (600, 64) for model in models.values())
    kept = json.loads((run / "spectrum.json").read_text())["models"]
    assert kept == [
        {key: value for key, value in model.items() if key != "spec"} for model in list(models.values())[:2]
    ]
    assert json.loads(Path("runs/diagnostics/diagnostics.json").read_text()) == answer.document
    lines = list(csv.DictReader(Path("runs/diagnostics/spectrum.csv").read_text().splitlines()))
    assert [line["spec"] for line in lines] == ["run:run", "run:run", "tiny"]
    assert {path.name for path in Path("runs/diagnostics").iterdir()} == {
        "diagnostics.json", "spectrum.csv", "spectrum.png", "spectrum.svg", "tiny-on-digits",
    }  # fmt: skip
    before = (run / "spectrum.json").stat().st_mtime_ns
    again = vlm("diagnose", f"run:{run}", "tiny")
    assert (run / "spectrum.json").stat().st_mtime_ns == before
    assert "features (unit length) of 600 ID images of digits, d = 64" in again.out
    assert "rank correlation: undefined for 1 run with predictions on shifts; expected at least 5" in again.out


def test_as_few_images_as_columns_are_refused(vlm, run):
    answer = vlm("diagnose", run, "--limit", "64", "--out", "out")
    assert answer.code == 2 and "64 samples of 64 features have no spectrum: with N <= d" in answer.paragraph
    assert not Path("out").exists() and not (run / "spectrum.json").exists()


def test_what_is_no_model_is_refused(vlm):
    answer = vlm("diagnose", "nowhere/run")
    assert answer.code == 2 and "nowhere/run" in answer.paragraph
    assert not Path("runs").exists()
