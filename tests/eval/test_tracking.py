import copy
import dataclasses

import numpy as np
import pytest
import torch

from vlm_data import load_benchmark
from vlm_data.benchmark import Shift
from vlm_eval import predict
from vlm_eval.tracking import ShiftTracker
from vlm_finetune.finetuning import finetune
from vlm_finetune.recipe import parse
from vlm_finetune.run import LOG
from vlm_finetune.run_log import read_log
from vlm_models import load_encoder
from vlm_models.zero_shot import zero_shot_classifier

RECIPE = {
    "data": {"limit": 60},
    "training": {"epochs": 3, "batch_size": 30, "lr": 1e-3, "warmup": 1},
}


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=60)


@pytest.fixture
def zero_shot(digits):
    return zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)


def wrong(model):
    """A copy of a classifier that names the class after the one it sees."""
    found = copy.deepcopy(model)
    with torch.no_grad():
        found.head.weight.copy_(model.head.weight.roll(1, 0))
    return found


def test_accuracies_are_those_of_the_predictions(digits, zero_shot):
    tracker = ShiftTracker(digits, zero_shot, 1000, "cpu")
    natural = [shift for shift in digits.shifts if shift.group == "natural"]
    assert tracker.start == {s.datasets[0].name: predict(zero_shot, s.datasets[0]).accuracy for s in natural}
    assert len(tracker.start) == len(natural) > 3


def test_corruptions_are_not_tracked(digits, zero_shot):
    assert not any("noise" in name for name in ShiftTracker(digits, zero_shot, 10, "cpu").start)


@pytest.mark.parametrize("images", [1, 20, 59])
def test_so_many_images_of_each_shift_always_the_same(digits, zero_shot, images):
    tables = {s.datasets[0].name: predict(zero_shot, s.datasets[0]) for s in digits.shifts if s.group == "natural"}
    starts = [ShiftTracker(digits, zero_shot, images, "cpu").start for _ in range(2)]
    assert starts[0] == starts[1]
    for name, accuracy in starts[0].items():
        assert accuracy * images == pytest.approx(round(accuracy * images))
        rows = np.sort(np.random.default_rng(0).permutation(60)[:images])
        assert accuracy == pytest.approx(tables[name].correct[rows].mean())


def test_no_images_is_no_tracking(digits, zero_shot):
    tracker = ShiftTracker(digits, zero_shot, 0, "cpu")
    assert tracker.start == {}
    assert tracker(zero_shot, False) == ({}, [])


@pytest.mark.parametrize("frozen", [True, False])
def test_nothing_lost_is_no_collapse(digits, zero_shot, frozen):
    tracker = ShiftTracker(digits, zero_shot, 50, "cpu")
    facts, events = tracker(zero_shot, frozen)
    assert facts == {"shifts": tracker.start} and events == []


@pytest.mark.parametrize("frozen", [True, False])
def test_a_collapse_is_told_once_for_each_shift(digits, zero_shot, frozen):
    tracker = ShiftTracker(digits, zero_shot, 50, "cpu")
    broken = wrong(zero_shot)
    facts, events = tracker(broken, frozen)
    assert {event["data"] for event in events} == tracker.collapsed != set()
    for event in events:
        assert event["event"] == "collapse"
        assert event["zero_shot"] == tracker.start[event["data"]]
        assert event["accuracy"] == facts["shifts"][event["data"]]
        assert event["accuracy"] - 0.1 < (event["zero_shot"] - 0.1) / 2
    for name in set(tracker.start) - tracker.collapsed:
        assert facts["shifts"][name] - 0.1 >= (tracker.start[name] - 0.1) / 2
    assert tracker(broken, frozen) == (facts, [])


def test_chance_or_less_cannot_be_lost(digits, zero_shot):
    broken = wrong(zero_shot)
    tracker = ShiftTracker(digits, broken, 50, "cpu")
    low = {name for name, accuracy in tracker.start.items() if accuracy <= 0.1}
    assert low
    _, events = tracker(wrong(broken), False)
    assert not low & {event["data"] for event in events}


def test_a_shift_without_labels_says_nothing(digits, zero_shot):
    first = digits.shifts[0].datasets[0]
    unknown = dataclasses.replace(first, labels=np.full(len(first), -1))
    benchmark = dataclasses.replace(digits, shifts=(Shift("invert", "natural", (unknown,)),))
    _, events = ShiftTracker(benchmark, zero_shot, 50, "cpu")(wrong(zero_shot), False)
    assert events == []


def test_the_model_is_left_in_its_mode(digits, zero_shot):
    tracker = ShiftTracker(digits, zero_shot, 20, "cpu")
    assert not zero_shot.training and not zero_shot.encoder.training
    zero_shot.train()
    tracker(zero_shot, False)
    assert zero_shot.training and zero_shot.encoder.training


class TestInTheLog:
    def fit(self, benchmark, out, stop_after=None):
        """Train with a tracker whose zero-shot model is much better than the one that is trained."""
        model = zero_shot_classifier(load_encoder("tiny"), benchmark.class_names, benchmark.templates)
        tracker = ShiftTracker(benchmark, model, 50, "cpu")
        tracker.start = dict.fromkeys(tracker.start, 1.0)
        epochs = []

        def after_epoch(classifier, frozen):
            epochs.append(None)
            found = tracker(classifier, frozen)
            if stop_after is not None and len(epochs) > stop_after:
                raise KeyboardInterrupt
            return found

        finetune(parse(RECIPE), out, benchmark=benchmark, after_epoch=after_epoch)
        return read_log(out / LOG)

    def test_epochs_carry_accuracies_and_collapses_follow_them(self, digits, tmp_path):
        events = self.fit(digits, tmp_path / "run")
        epochs = [event for event in events if event["event"] == "epoch"]
        assert all(len(event["shifts"]) == 6 for event in epochs)
        collapses = [event for event in events if event["event"] == "collapse"]
        assert collapses and len({event["data"] for event in collapses}) == len(collapses)
        assert all({"phase", "epoch", "step", "zero_shot", "accuracy"} <= event.keys() for event in collapses)

    @pytest.mark.parametrize("stop_after", [1, 2])
    def test_a_run_that_was_interrupted_tells_each_collapse_once(self, digits, tmp_path, stop_after):
        expected = self.fit(digits, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            self.fit(digits, tmp_path / "run", stop_after)
        events = self.fit(digits, tmp_path / "run")
        told = [[event for event in log if event["event"] in ("epoch", "collapse")] for log in (expected, events)]
        assert told[0] == told[1]
