import json
import random
import shutil

import numpy as np
import pytest
import torch

from vlm_finetune.errors import VlmFinetuneError
from vlm_finetune.finetuning import finetune
from vlm_finetune.recipe import METHODS
from vlm_finetune.resume import newest_point
from vlm_finetune.run import LOG
from vlm_finetune.run_log import read_log

RESULTS = ("model.safetensors", "model.json", "teacher.safetensors")

LOOPED = [name for name in METHODS.names() if not hasattr(METHODS.load(name), "search")]
"""Methods that take steps of the loop; the others fit heads to features, see `test_head_search`."""


class Stopped(Exception):
    """Stands for whatever ends a process."""


class StopAt:
    """A progress callback that ends training at its `count`-th report about optimiser steps."""

    def __init__(self, count):
        self.left = count

    def __call__(self, what, done, total):
        if what.startswith("training"):
            self.left -= 1
            if not self.left:
                raise Stopped


def results(run):
    return {name: (run.path / name).read_bytes() for name in RESULTS if (run.path / name).exists()}


def happened(events):
    """The steps and epochs of a log, without what tells of starts."""
    return [event for event in events if event["event"] in ("step", "epoch")]


def disturb(seed):
    """Leave the global generators in another state: nothing may depend on them."""
    torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)


def train_with_stops(train, out, name, stops, /, **tables):
    """Start a training again and again, each time stopped at its `n`-th report; then let it end."""
    for attempt, count in enumerate(stops):
        disturb(attempt)
        with pytest.raises(Stopped):
            train(name, out, progress=StopAt(count), **tables)
    disturb(99)
    return train(name, out, **tables)


@pytest.mark.parametrize(("method", "rank"), [*((name, 0) for name in LOOPED), ("full", 2), ("carot", 2), ("lp-ft", 2)])
def test_stopped_and_started_again_it_is_the_same_model(method, rank, train, tmp_path):
    # 12 steps per epoch; reports after 5, 10 and 12 of them, resume points after 5, 10 and at the end
    tables = {"training": {"epochs": 2, "batch_size": 8, "save_every": 5}, "data": {"augmentation": "crop"}}
    tables["lora"] = {"rank": rank}
    whole, events = train(method, tmp_path / "whole", **tables)
    found, again = train_with_stops(train, tmp_path / "stopped", method, (2, 3), **tables)
    assert results(found) == results(whole)
    assert happened(again) == happened(events)
    steps = [(event["phase"], event["step"]) for event in again if event["event"] == "step"]
    assert steps == sorted(set(steps))
    assert sum(event["event"] == "resume" for event in again) == 2


@pytest.mark.parametrize("method", ["flyp", "carot", "lp-ft"])
def test_a_running_average_goes_on_where_it_stopped(method, train, tmp_path):
    tables = {"training": {"epochs": 2, "batch_size": 8, "save_every": 5, "ema": 0.8}}
    whole, events = train(method, tmp_path / "whole", **tables)
    found, again = train_with_stops(train, tmp_path / "stopped", method, (2, 3), **tables)
    assert results(found) == results(whole)
    assert happened(again) == happened(events)


@pytest.fixture(scope="module")
def uninterrupted(digits, recipe, tmp_path_factory):
    """Contents of the results and the log of three epochs of `flyp` that nothing stopped."""
    run = finetune(recipe("flyp"), tmp_path_factory.mktemp("whole") / "run", benchmark=digits)
    return results(run), happened(read_log(run.path / LOG))


@pytest.mark.parametrize(
    ("save_every", "stops"), [(0, (1,)), (0, (3,)), (0, (1, 2, 1)), (1, (4, 1)), (2, (3, 1, 1)), (3, (2,)), (7, (4,))]
)
def test_whenever_it_is_stopped(save_every, stops, train, tmp_path, uninterrupted):
    found, events = train_with_stops(train, tmp_path, "flyp", stops, training={"save_every": save_every})
    assert (results(found), happened(events)) == uninterrupted


@pytest.mark.parametrize("save_every", [0, 1, 3])
def test_killed_after_an_epoch_was_logged_and_before_its_resume_point(save_every, train, tmp_path, uninterrupted):
    out, kept = tmp_path / "run", tmp_path / "resume"
    epochs = iter((1, 2, 3))

    def keep(*_):
        if next(epochs) == 2:
            shutil.copytree(out / "resume", kept)
        return {}, []

    train("flyp", out, after_epoch=keep, training={"save_every": save_every})
    lines = (out / LOG).read_text().splitlines(keepends=True)
    second = [index for index, line in enumerate(lines) if json.loads(line)["event"] == "epoch"][1]
    (out / LOG).write_text("".join(lines[: second + 1]))
    (out / "model.safetensors").unlink(), (out / "model.json").unlink()
    kept.rename(out / "resume")

    found, events = train("flyp", out, training={"save_every": save_every})
    assert (results(found), happened(events)) == uninterrupted


def test_resume_points_in_between_change_nothing(train, tmp_path):
    runs = [train("carot", tmp_path / str(every), training={"save_every": every})[0] for every in (0, 1)]
    assert results(runs[0]) == results(runs[1])


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("save_every", [0, 3])
def test_stopped_while_an_epoch_is_judged(save_every, epoch, train, tmp_path, uninterrupted):
    epochs = iter((1, 2, 3))

    def stop(*_):
        if next(epochs) == epoch:
            raise Stopped
        return {}, []

    with pytest.raises(Stopped):
        train("flyp", after_epoch=stop, training={"save_every": save_every})
    found, events = train("flyp", training={"save_every": save_every})
    assert (results(found), happened(events)) == uninterrupted


def test_stopped_between_the_phases(train, tmp_path):
    tables = {"training": {"epochs": 2}, "method": {"probe_epochs": 2}}
    whole, events = train("lp-ft", tmp_path / "whole", **tables)
    assert [(e["phase"], e["step"]) for e in happened(events) if e["event"] == "epoch"] == [
        (0, 3),
        (0, 6),
        (1, 3),
        (1, 6),
    ]
    for count in (1, 2, 3, 4):
        found, again = train_with_stops(train, tmp_path / str(count), "lp-ft", (count,), **tables)
        assert results(found) == results(whole)
        assert happened(again) == happened(events)


def test_the_log_tells_of_starts_and_resumptions(train, tmp_path):
    _, events = train_with_stops(train, tmp_path / "run", "full", (2,))
    told = [event for event in events if event["event"] in ("start", "resume")]
    assert [(event["event"], event["step"]) for event in told] == [("start", 0), ("resume", 3)]
    assert told[0]["total_steps"] == 9 and told[0]["processes"] == 1 and told[0]["device"] == "cpu"
    assert told[0]["trained_parameters"] == told[1]["trained_parameters"] > 200_000


def test_a_line_of_the_log_that_was_cut_is_written_again(train, tmp_path):
    with pytest.raises(Stopped):
        train("full", tmp_path / "run", progress=StopAt(2))
    log = tmp_path / "run" / LOG
    log.write_text(log.read_text()[:-20])
    _, events = train("full", tmp_path / "run")
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 10))


def test_a_further_start_changes_nothing(train, tmp_path):
    run, _ = train("full", tmp_path / "run")
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    train("full", tmp_path / "run")
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


class TestPoints:
    @pytest.fixture
    def stopped(self, train, tmp_path):
        with pytest.raises(Stopped):
            train("carot", tmp_path / "run", progress=StopAt(2), training={"save_every": 2})
        return tmp_path / "run" / "resume"

    def again(self, train, tmp_path):
        return train("carot", tmp_path / "run", training={"save_every": 2})

    def test_there_is_one_and_it_is_whole(self, stopped):
        assert newest_point(stopped)[:2] == (0, 2)
        assert [path.name for path in stopped.iterdir()] == ["phase-0-step-00000002"]

    def test_one_that_was_being_written_does_not_count(self, stopped, train, tmp_path):
        shutil.copytree(stopped / "phase-0-step-00000002", stopped / ".phase-0-step-00000003")
        (stopped / ".phase-0-step-00000003" / "model.safetensors").write_bytes(b"half")
        assert newest_point(stopped)[:2] == (0, 2)
        _, events = self.again(train, tmp_path)
        assert [event["step"] for event in events if event["event"] == "resume"] == [2]

    def test_the_newest_counts_whatever_the_order_of_names(self, tmp_path):
        for name in ("phase-0-step-00000009", "phase-1-step-00000002", "phase-0-step-100000000", "best-phase-2.x"):
            (tmp_path / name).mkdir()
        assert newest_point(tmp_path)[:2] == (1, 2)
        assert newest_point(tmp_path / "nowhere") is None

    @pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "custom_checkpoint_0.pkl"])
    @pytest.mark.parametrize("damage", ["cut", "gone"])
    def test_a_damaged_one_is_told_with_what_to_do(self, stopped, train, tmp_path, name, damage):
        path = stopped / "phase-0-step-00000002" / name
        content = path.read_bytes()
        path.unlink()
        if damage == "cut":
            path.write_bytes(content[: len(content) // 2])
        with pytest.raises(VlmFinetuneError, match=r"cannot read the resume point .*phase-0-step-00000002.*Remove"):
            self.again(train, tmp_path)
        shutil.rmtree(stopped)
        run, events = self.again(train, tmp_path)
        assert run.is_trained
        assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 10))

    def test_it_is_gone_when_training_has_ended(self, stopped, train, tmp_path):
        run, _ = self.again(train, tmp_path)
        assert not stopped.exists()
        assert json.loads((run.path / "model.json").read_text())["method"] == "carot"


def test_a_log_without_its_resume_points_starts_over(train, tmp_path):
    with pytest.raises(Stopped):
        train("full", tmp_path / "run", progress=StopAt(3))
    shutil.rmtree(tmp_path / "run" / "resume")
    run, events = train("full", tmp_path / "run")
    whole, expected = train("full", tmp_path / "whole")
    assert results(run) == results(whole)
    assert happened(events) == happened(expected) == happened(read_log(run.path / LOG))
