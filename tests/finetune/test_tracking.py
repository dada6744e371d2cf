"""Experiment trackers: they are told what the log says, and nothing else changes."""

import contextlib
import dataclasses
import importlib.util
import json

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from vlm_data.errors import CallError
from vlm_finetune.finetuning import finetune, prepare_run
from vlm_finetune.recipe import parse
from vlm_finetune.run import differing_keys
from vlm_finetune.run_log import read_log
from vlm_finetune.tracking import EXTRAS, Tracking, check_trackers, open_tracking


class JsonLinesTracker(GeneralTracker):
    """Writes what it is told into one file, as a tracker of somebody's own would."""

    name = "json-lines"
    requires_logging_directory = True

    def __init__(self, run_name, logging_dir):
        super().__init__()
        self.path = logging_dir / f"{run_name}.jsonl"

    @property
    def tracker(self):
        return self.path

    def start(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def _write(self, line):
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")

    def store_init_configuration(self, values):
        self._write({"settings": values})

    def log(self, values, step=None):
        self._write({"step": step, **values})

    def finish(self):
        self._write({"finished": True})


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, JsonLinesTracker.name, JsonLinesTracker)
    return {"tracking": {"trackers": [JsonLinesTracker.name]}}


def told(run):
    return [json.loads(line) for line in (run.path / "tracking" / f"{run.path.name}.jsonl").read_text().splitlines()]


def test_it_hears_settings_losses_rates_and_scores_of_epochs(train, registered):
    run, log = train("lp-ft", **registered)
    first, *lines, last = told(run)
    assert first["settings"]["method.name"] == "lp-ft" and first["settings"]["training.lr"] == 1e-3
    assert last == {"finished": True}
    steps = [line for line in lines if "train/loss" in line]
    logged = [event for event in log if event["event"] == "step"]
    assert [line["train/loss"] for line in steps] == [event["loss"] for event in logged]
    assert [line["train/lr"] for line in steps] == [event["lr"] for event in logged]
    assert [line["step"] for line in steps] == list(range(1, len(logged) + 1))  # phases one behind the other
    epochs = [line for line in lines if "val/accuracy" in line]
    assert [(line["val/accuracy"], line["val/nll"]) for line in epochs] == [
        (event["val_accuracy"], event["val_nll"]) for event in log if event["event"] == "epoch"
    ]
    assert [line["step"] for line in epochs] == [3 * count for count in range(1, len(epochs) + 1)]


def test_training_with_it_is_the_same_training(train, registered, tmp_path):
    plain, _ = train("carot", tmp_path / "plain")
    tracked, _ = train("carot", tmp_path / "tracked", **registered)
    for name in ("model.safetensors", "teacher.safetensors", "model.json", "log.jsonl"):
        assert (plain.path / name).read_bytes() == (tracked.path / name).read_bytes(), name
    assert differing_keys(plain.recipe, tracked.recipe) == []


def test_an_interrupted_run_may_go_on_with_other_trackers(train, registered, tmp_path):
    whole, _ = train("lp-ft", tmp_path / "whole")

    class Stopped(Exception):
        pass

    def stop(stage, done, total):
        epochs = sum(event["event"] == "epoch" for event in read_log(tmp_path / "run" / "log.jsonl"))
        if epochs == 3:  # in the second phase
            raise Stopped

    with contextlib.suppress(Stopped):
        train("lp-ft", tmp_path / "run", progress=stop)
    run, _ = train("lp-ft", tmp_path / "run", **registered)
    assert (run.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
    steps = [line["step"] for line in told(run) if "train/loss" in line]
    assert steps == list(range(steps[0], 3 * 5 + 1)) and steps[0] > 6  # counted on from the first phase


def test_one_that_is_open_already_hears_training_and_is_not_closed(digits, recipe, tmp_path, registered):
    wanted = dataclasses.replace(recipe("full"), tracking=parse(registered).tracking)
    prepare_run(wanted, tmp_path / "run")
    with open_tracking(wanted, tmp_path / "run") as tracking:
        run = finetune(wanted, tmp_path / "run", benchmark=digits, tracking=tracking)
        assert {"finished": True} not in told(run)
        row = {"split": "test", "data": "csv:my photos/a.csv", "model": "fine-tuned", "metrics": {"accuracy": 0.5}}
        tracking.scores([row])
    *_, scores, last = told(run)
    assert scores == {"step": 9, "test/csv-my-photos/a.csv/fine-tuned/accuracy": 0.5}
    assert last == {"finished": True} and told(run).count(last) == 1


def test_what_happens_beside_steps_and_epochs_is_told_by_its_name(tmp_path):
    tracker = JsonLinesTracker("run", tmp_path / "tracking")
    tracker.start()
    tracking = Tracking(tmp_path, [tracker])
    tracking.events(
        [{"event": "start", "phase": 0, "step": 0, "total_steps": 4, "device": "cpu", "shifts": {"a": 0.5}}]
    )
    tracking.events([{"event": "collapse", "phase": 1, "step": 2, "data": "digits/invert", "accuracy": 0.1}])
    tracking.events([{"event": "epoch", "phase": 1, "step": 3, "epoch": 1, "best": True, "shifts": {"digits/a": 0.2}}])
    lines = [json.loads(line) for line in tracker.path.read_text().splitlines()]
    assert lines == [
        {"step": 0, "start/total_steps": 4.0, "start/shifts/a": 0.5},
        {"step": 6, "collapse/digits/invert/accuracy": 0.1},
        {"step": 7, "val/best": 1.0, "val/shifts/digits/a": 0.2},
    ]


def test_an_unknown_tracker_is_refused_before_anything_is_written(train, tmp_path):
    with pytest.raises(CallError, match=r"unknown tracker 'tensorbord'\. Did you mean 'tensorboard'"):
        train("full", tmp_path / "run", tracking={"trackers": ["tensorbord"]})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", [*EXTRAS, "comet_ml", "dvclive"])
def test_a_missing_package_is_told_with_what_to_install(name):
    if importlib.util.find_spec(name):
        check_trackers([name])
        return
    package = f"'vlm-finetune[{name}]'" if name in EXTRAS else name.replace("_", "-")
    with pytest.raises(CallError) as caught:
        check_trackers([name])
    assert f"the tracker {name} is not installed. Expected its package: `pip install {package}`" in str(caught.value)


def test_tensorboard_writes_into_the_run(train):
    pytest.importorskip("tensorboard")
    run, _ = train("full", tracking={"trackers": ["tensorboard"]})
    assert any((run.path / "tracking" / "tensorboard").glob("events.*"))
