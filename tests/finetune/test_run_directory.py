import pytest

from vlm_data.errors import CallError
from vlm_finetune.recipe import parse
from vlm_finetune.run import ENVIRONMENT, LOG, RECIPE, find_run, remove_unfinished, start_run

RECIPE_A, RECIPE_B = parse({"training": {"lr": 1e-3}}), parse({"training": {"lr": 1e-4}})


def test_looking_for_a_run_writes_nothing(tmp_path):
    assert find_run(RECIPE_A, tmp_path / "new") is None
    assert list(tmp_path.iterdir()) == []


def test_a_started_run_is_found_by_its_recipe(tmp_path):
    start_run(RECIPE_A, tmp_path / "run")
    found = find_run(RECIPE_A, tmp_path / "run")
    assert found and found.recipe == RECIPE_A and not found.has_begun


def test_a_run_that_has_begun_is_not_given_to_another_recipe(tmp_path):
    run = start_run(RECIPE_A, tmp_path / "run")
    (run.path / LOG).write_text("{}\n")
    with pytest.raises(CallError, match=r"training\.lr \(0\.001 there, 0\.0001 now\)"):
        start_run(RECIPE_B, run.path)
    assert start_run(RECIPE_B, run.path, overwrite=True).recipe == RECIPE_B
    assert not (run.path / LOG).exists()


def test_a_run_that_never_began_gives_way_to_corrected_settings(tmp_path):
    start_run(RECIPE_A, tmp_path / "run")
    assert start_run(RECIPE_B, tmp_path / "run").recipe == RECIPE_B
    found = find_run(RECIPE_B, tmp_path / "run")
    assert found and found.recipe == RECIPE_B


def test_a_start_that_was_killed_between_two_files_goes_on(tmp_path):
    run = start_run(RECIPE_A, tmp_path / "run")
    (run.path / ENVIRONMENT).unlink()
    (run.path / f".{ENVIRONMENT}.0a1b2c3d.tmp").write_text('{"comm')
    start_run(RECIPE_A, run.path)
    remove_unfinished(run.path)
    assert sorted(entry.name for entry in run.path.iterdir()) == [ENVIRONMENT, RECIPE]


def test_a_start_that_was_killed_while_writing_its_first_file_goes_on(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / f".{RECIPE}.0a1b2c3d.tmp").write_text("[tra")
    assert start_run(RECIPE_A, folder).recipe == RECIPE_A


def test_what_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(CallError, match="is not empty and holds no run"):
            start_run(RECIPE_A, tmp_path, overwrite)
    with pytest.raises(CallError, match=r"thesis\.tex is a file; expected a folder"):
        start_run(RECIPE_A, tmp_path / "thesis.tex", overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "x"
