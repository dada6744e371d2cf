"""`vlm report`: the page again, from the files of a run and from nothing else."""

import shutil

import pytest

RUN = "runs/digits-tiny-full-seed0"


@pytest.fixture
def moved(workplace, tmp_path):
    return shutil.copytree(workplace / RUN, tmp_path / "moved")


def test_the_page_is_written_again(vlm, moved):
    (moved / "report.html").unlink()
    (moved / "model.safetensors").unlink()  # needs no model
    answer = vlm("report", moved, "--json")
    assert answer.code == 0, answer.err
    assert answer.document == {"reports": [str(moved / "report.html")]}
    page = (moved / "report.html").read_text()
    assert page.startswith("<!") and "interpolated" in page


def test_a_run_without_a_report_gets_one_later(vlm, tmp_path):
    call = ("finetune", "--limit", "16", "--epochs", "1", "--set", "evaluation.report=false", "--out", tmp_path / "run")
    answer = vlm(*call)
    assert answer.code == 0 and "report.html" not in answer.out and (tmp_path / "run/DONE").exists()
    assert not (tmp_path / "run/report.html").exists() and not (tmp_path / "run/figures").exists()
    assert vlm("report", tmp_path / "run").code == 0 and (tmp_path / "run/report.html").exists()


def test_the_path_of_the_page_is_printed(vlm, moved):
    assert vlm("report", moved).out == f"{moved / 'report.html'}\n"


def test_what_is_no_run_is_refused_before_anything_is_written(vlm, moved, photos):
    (moved / "report.html").unlink()
    answer = vlm("report", moved, photos)
    assert answer.code == 2
    assert "is not a run directory: it has no recipe.toml. Expected the --out of a `vlm finetune`" in answer.paragraph
    assert not (moved / "report.html").exists()


def test_a_run_that_was_not_evaluated_has_a_page_without_verdict(vlm, moved):
    shutil.rmtree(moved / "predictions")
    assert vlm("report", moved).code == 0
    assert "There are no scored predictions in the run directory" in (moved / "report.html").read_text()
