import json
from pathlib import Path
from typing import ClassVar

import pytest

from vlm_data.errors import CallError
from vlm_finetune import open_run
from vlm_finetune.errors import RecipeError, VlmFinetuneError
from vlm_finetune.finetuning import default_out, finetune, prepare_run
from vlm_finetune.recipe import parse
from vlm_finetune.recipe_files import resolve
from vlm_finetune.run import (
    DONE,
    ENVIRONMENT,
    LOG,
    RECIPE,
    check_save_folder,
    differing_keys,
    require_trained,
    start_run,
)
from vlm_finetune.run_log import RunLog, read_log
from vlm_models.checkpoint import MANIFEST


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestStart:
    def test_a_new_run_is_its_recipe_and_what_it_depends_on(self, tmp_path, recipe):
        run = start_run(recipe("flyp"), tmp_path / "deep" / "run")
        assert names(run.path) == [ENVIRONMENT, RECIPE]
        assert open_run(run.path) == run
        assert not run.is_trained and not run.is_done
        facts = json.loads((run.path / ENVIRONMENT).read_text())
        assert {"command", "python", "packages", "git", "cpu_threads", "gpus"} <= facts.keys()
        assert facts["packages"]["torch"] and facts["packages"]["vlm-finetune"]

    def test_an_empty_folder_will_do(self, tmp_path, recipe):
        assert start_run(recipe(), tmp_path).path == tmp_path

    def test_the_same_recipe_goes_on_with_it(self, tmp_path, recipe):
        first = start_run(recipe(), tmp_path / "run")
        (first.path / LOG).write_text('{"event": "start"}\n')
        before = (first.path / ENVIRONMENT).stat().st_mtime_ns
        assert start_run(recipe(), tmp_path / "run") == first
        assert (first.path / ENVIRONMENT).stat().st_mtime_ns == before
        assert (first.path / LOG).exists()

    def test_the_source_of_the_values_does_not_matter(self, tmp_path):
        start_run(parse({"source": "a book"}), tmp_path / "run")
        (tmp_path / "run" / LOG).touch()
        start_run(parse({"source": "a friend"}), tmp_path / "run")

    def test_another_recipe_is_refused_with_what_differs(self, tmp_path, recipe):
        start_run(recipe("full"), tmp_path / "run")
        (tmp_path / "run" / LOG).touch()
        other = recipe("carot", training={"lr": 0.5}, data={"limit": 7})
        with pytest.raises(CallError) as caught:
            start_run(other, tmp_path / "run")
        message = str(caught.value)
        for part in (
            "holds another run",
            "training.lr (0.001 there, 0.5 now)",
            "data.limit (96 there, 7 now)",
            "method.name (full there, carot now)",
            "method.distillation (None there, 1.5 now)",
            "--overwrite",
        ):
            assert part in message
        assert "training.epochs" not in message
        assert open_run(tmp_path / "run").recipe == recipe("full")

    def test_a_run_that_left_nothing_yet_gives_way_to_another_recipe(self, tmp_path, recipe):
        start_run(recipe("full"), tmp_path / "run")
        assert start_run(recipe("flyp"), tmp_path / "run").recipe == recipe("flyp")
        assert open_run(tmp_path / "run").recipe == recipe("flyp")

    def test_a_file_in_its_place(self, tmp_path, recipe):
        (tmp_path / "run").touch()
        with pytest.raises(CallError, match="is a file; expected a folder for the run"):
            start_run(recipe(), tmp_path / "run")

    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize("content", [["notes.md"], [ENVIRONMENT], [RECIPE, "thesis.tex"], [LOG], [".git"]])
    def test_a_folder_of_something_else_is_left_alone(self, tmp_path, recipe, content, overwrite):
        for name in content:
            (tmp_path / name).write_text(recipe().to_toml() if name == RECIPE else "mine")
        with pytest.raises(CallError, match="is not empty and holds no run"):
            start_run(recipe(), tmp_path, overwrite)
        assert names(tmp_path) == sorted(content)

    @pytest.mark.parametrize("left", [[".recipe.toml.12ab34cd.tmp"], [RECIPE], [RECIPE, ".environment.json.0.tmp"]])
    def test_what_a_killed_start_left_is_taken_up(self, tmp_path, recipe, left):
        for name in left:
            (tmp_path / name).write_text(recipe().to_toml() if name == RECIPE else "{")
        run = prepare_run(recipe(), tmp_path)
        assert run == open_run(tmp_path)
        assert names(tmp_path) == [ENVIRONMENT, RECIPE]

    def test_half_written_files_of_a_killed_process_go_away(self, tmp_path, recipe):
        run = start_run(recipe(), tmp_path / "run")
        (run.path / "predictions").mkdir()
        for name in (".model.safetensors.12ab34cd.tmp", "predictions/.digits.parquet.12ab34cd.tmp"):
            (run.path / name).touch()
        (run.path / "predictions" / "digits.parquet").touch()
        prepare_run(recipe(), run.path)
        assert names(run.path) == [ENVIRONMENT, "predictions", RECIPE]
        assert names(run.path / "predictions") == ["digits.parquet"]


class TestOverwrite:
    def test_a_run_is_removed_whatever_its_recipe(self, tmp_path, recipe):
        run = start_run(recipe("full"), tmp_path / "run")
        (run.path / LOG).touch(), (run.path / DONE).touch(), (run.path / "predictions").mkdir()
        again = start_run(recipe("flyp"), tmp_path / "run", overwrite=True)
        assert again.recipe.method == "flyp" and not again.is_done
        assert names(again.path) == [ENVIRONMENT, RECIPE]

    def test_a_run_with_a_damaged_recipe_is_removed(self, tmp_path, recipe):
        run = start_run(recipe(), tmp_path / "run")
        (run.path / RECIPE).write_text("[[[")
        with pytest.raises(RecipeError, match="cannot read the recipe"):
            start_run(recipe(), tmp_path / "run")
        assert start_run(recipe(), tmp_path / "run", overwrite=True).recipe == recipe()

    def test_nothing_there_is_nothing_to_remove(self, tmp_path, recipe):
        assert start_run(recipe(), tmp_path / "run", overwrite=True).recipe == recipe()

    @pytest.mark.parametrize("foreign", ["notes.md", ".git", "model.pt"])
    def test_files_that_no_run_writes_are_never_removed(self, tmp_path, recipe, foreign):
        run = start_run(recipe("full"), tmp_path / "run")
        (run.path / LOG).touch(), (run.path / foreign).touch()
        with pytest.raises(CallError, match=f"files that no run writes: '{foreign}'. Nothing was removed"):
            start_run(recipe("flyp"), tmp_path / "run", overwrite=True)
        assert names(run.path) == sorted([ENVIRONMENT, LOG, RECIPE, foreign])

    def test_everything_a_run_writes_can_be_removed(self, train, tmp_path, recipe):
        run, _ = train("carot")
        run.mark_done()
        start_run(recipe("flyp"), run.path, overwrite=True)
        assert names(run.path) == [ENVIRONMENT, RECIPE]

    def test_the_folder_itself_stays_be_it_a_link_or_where_one_stands(self, tmp_path, recipe, monkeypatch):
        run = start_run(recipe("full"), tmp_path / "run")
        (tmp_path / "link").symlink_to(run.path)
        start_run(recipe("flyp"), tmp_path / "link", overwrite=True)
        assert (tmp_path / "link").is_symlink() and open_run(run.path).recipe == recipe("flyp")
        monkeypatch.chdir(run.path)
        start_run(recipe("carot"), ".", overwrite=True)
        assert open_run(run.path).recipe == recipe("carot")

    def test_what_a_link_in_a_run_points_to_stays(self, tmp_path, recipe):
        run = start_run(recipe("full"), tmp_path / "run")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "kept").touch()
        (run.path / "predictions").symlink_to(tmp_path / "elsewhere")
        start_run(recipe("flyp"), run.path, overwrite=True)
        assert names(tmp_path / "elsewhere") == ["kept"]


class TestSaveFolder:
    def test_a_run_and_the_models_a_mixture_is_made_of_are_kept(self, tmp_path, recipe):
        run = start_run(recipe(), tmp_path / "run")
        with pytest.raises(CallError, match="holds a run, whose weights would be lost"):
            check_save_folder(run.path)
        with pytest.raises(CallError, match="holds one of the two models"):
            check_save_folder(tmp_path / "run" / ".." / "saved", ["tiny", f"file:{tmp_path / 'saved'}"])

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "saved").write_text("")
        with pytest.raises(CallError, match="is a file; expected a folder"):
            check_save_folder(tmp_path / "saved")

    def test_a_new_folder_and_that_of_an_earlier_mixture_will_do(self, tmp_path):
        check_save_folder(tmp_path / "new", ["tiny", f"run:{tmp_path}/run"])
        check_save_folder(tmp_path, ["tiny", "openclip:RN50"])


class TestOpen:
    def test_what_is_no_run(self, tmp_path):
        for path in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(CallError, match=r"is not a run directory: it has no recipe\.toml"):
                open_run(path)

    def test_a_recipe_of_an_unknown_kind(self, tmp_path, recipe):
        run = start_run(recipe(), tmp_path / "run")
        (run.path / RECIPE).write_text("[training]\nnew_setting = 1\n")
        with pytest.raises(RecipeError, match=r"recipe\.toml: table \[training\] has no key 'new_setting'"):
            open_run(run.path)

    def test_an_unfinished_run_is_told_apart(self, tmp_path, recipe):
        run = start_run(recipe(), tmp_path / "run")
        with pytest.raises(VlmFinetuneError, match=r"is unfinished: model\.json is missing"):
            require_trained(run)
        (run.path / MANIFEST).touch()
        require_trained(run)


class TestWhatARecipeMayBe:
    TABLES: ClassVar = {"data": {"limit": 16}, "training": {"epochs": 0}, "evaluation": {"track": 0}}

    @pytest.mark.parametrize("kind", [dict, str, Path])
    def test_tables_and_files(self, tmp_path, kind):
        path = tmp_path / "own.toml"
        path.write_text(resolve(flags=self.TABLES).to_toml())
        run = finetune(self.TABLES if kind is dict else kind(path), tmp_path / "run")
        assert run.is_trained
        assert differing_keys(run.recipe, resolve(flags=self.TABLES)) == []

    def test_a_name_that_nothing_has(self, tmp_path):
        with pytest.raises(CallError, match="Did you mean 'carot'"):
            finetune("carott", tmp_path / "run")
        assert not (tmp_path / "run").exists()


class TestFinished:
    def test_it_is_not_trained_again(self, train, tmp_path, digits):
        run, events = train()
        stamps = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()}

        def never(*_):
            raise AssertionError("trained again")

        again, same = train(after_epoch=never)
        assert again == run and same == events
        assert {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()} == stamps
        assert run.is_trained and not run.is_done
        run.mark_done()
        assert open_run(run.path).is_done

    def test_it_holds_what_the_contract_names(self, train):
        run, _ = train("carot")
        expected = [ENVIRONMENT, LOG, "model.json", "model.safetensors", RECIPE, "teacher.safetensors"]
        assert names(run.path) == expected

    def test_resume_points_a_killed_process_left_are_removed(self, train):
        run, _ = train()
        (run.path / "resume").mkdir()
        train()
        assert not (run.path / "resume").exists()


def test_the_manifest_names_the_epoch_that_was_kept(train):
    run, events = train(training={"epochs": 4, "lr": 3e-3})
    manifest = json.loads((run.path / MANIFEST).read_text())
    epochs = [event for event in events if event["event"] == "epoch"]
    best = max(epochs, key=lambda event: (event["val_accuracy"], -event["val_nll"], event["epoch"]))
    assert (manifest["epoch"], manifest["method"], manifest["base"]) == (best["epoch"], "full", "tiny")


def test_an_unusable_precision_leaves_no_directory(tmp_path, recipe):
    import torch

    if torch.cuda.is_available():
        pytest.skip("fp16 exists here")
    with pytest.raises(CallError, match="fp16 needs a GPU"):
        finetune(recipe(model={"precision": "fp16"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("tables", "folder"),
    [
        ({}, "digits-tiny-full-seed0"),
        ({"data": {"name": "folder:../my pets"}, "training": {"seed": 3}}, "folder-..-my-pets-tiny-full-seed3"),
        ({"model": {"spec": "openclip:ViT-B-32/laion2b"}}, "digits-openclip-ViT-B-32-laion2b-full-seed0"),
    ],
)
def test_default_directories_are_one_level_below_runs(tables, folder):
    found = default_out(parse(tables))
    assert found.parts == ("runs", folder)


def test_differing_keys_of_equal_recipes():
    assert differing_keys(parse({}), parse({"source": "other"})) == []


class TestLog:
    def test_events_come_back_and_a_cut_line_does_not(self, tmp_path):
        log = RunLog(tmp_path / LOG)
        events = [{"event": "step", "phase": 0, "step": step, "loss": 0.1 * step} for step in range(1, 6)]
        log.append(events[:2])
        log.append(events[2:])
        with open(tmp_path / LOG, "a") as handle:
            handle.write('{"event": "step", "st')
        assert read_log(tmp_path / LOG) == events

    def test_it_goes_back_to_a_resume_point(self, tmp_path):
        log = RunLog(tmp_path / LOG)
        events = [{"event": "step", "phase": phase, "step": step} for phase in (0, 1) for step in (1, 2, 3)]
        log.append(events)
        log.rewind(1, 1)
        assert read_log(tmp_path / LOG) == events[:4]
        log.rewind(0, 2)
        assert read_log(tmp_path / LOG) == events[:2]

    def test_other_processes_write_nothing(self, tmp_path):
        log = RunLog(tmp_path / LOG, active=False)
        log.append([{"event": "step"}])
        log.rewind(0, 0)
        assert not (tmp_path / LOG).exists()

    def test_no_log_is_an_empty_one(self, tmp_path):
        assert read_log(tmp_path / LOG) == []
