import functools

import numpy as np
import pytest
import torch

from vlm_data.errors import CallError
from vlm_finetune.finetuning import finetune, load_data, load_data_of, zero_shot_model
from vlm_finetune.recipe_files import resolve
from vlm_finetune.run import LOG
from vlm_finetune.run_log import read_log
from vlm_finetune.validation import Validator
from vlm_models import load_model

SHOTS = {"limit": 8, "shots": 3}
PROTOCOL = {"select": "val-loss", "batch_size": 64, "epochs": 4, "warmup": 0}


@pytest.fixture
def few(recipe, tmp_path):
    """Fine-tunes by the few-shot protocol; returns the run, its log and its benchmark."""

    def run(name="run", method="flyp", /, progress=lambda *_: None, data=SHOTS, **training):
        own = recipe(method, data=data, training={**PROTOCOL, **training})
        found = finetune(own, tmp_path / name, progress=progress)
        return found, read_log(found.path / LOG), load_data(own)

    return run


def epochs(events):
    return [event for event in events if event["event"] == "epoch"]


def test_every_epoch_is_one_step_on_all_images(few):
    run, events, benchmark = few(lr=1e-3)
    assert np.bincount(benchmark.train.labels).tolist() == [3] * 10 == np.bincount(benchmark.val.labels).tolist()
    assert [event["epoch"] for event in events if event["event"] == "step"] == [1.0, 2.0, 3.0, 4.0]
    assert len(benchmark.test) == 8
    assert load_data_of([run.spec]).train.ids == benchmark.train.ids
    assert len(load_data_of([run.spec]).test) == 600


def test_kept_is_the_lowest_loss_the_start_included(few):
    run, events, benchmark = few(lr=1e-3)
    told = epochs(events)
    assert [event["epoch"] for event in told] == [0, 1, 2, 3, 4]
    losses = [event["val_nll"] for event in told]
    assert [event["best"] for event in told] == [loss == min(losses[: n + 1]) for n, loss in enumerate(losses)]
    assert losses.index(min(losses)) > 0
    validator = Validator(benchmark.val)
    assert validator.score(load_model(run.spec), torch.device("cpu"))[1] == pytest.approx(min(losses), abs=1e-5)


def test_kept_is_the_start_where_training_makes_it_worse(few, digits):
    run, events, _ = few(lr=0.3)
    assert min(epochs(events), key=lambda event: event["val_nll"])["epoch"] == 0
    before = zero_shot_model(run.recipe, digits).state_dict()
    assert all(torch.equal(tensor, before[key]) for key, tensor in load_model(run.spec).state_dict().items())


def test_every_seed_draws_its_own_images_unless_the_draw_is_named(recipe):
    def ids(seed, **data):
        return load_data(recipe(data={**SHOTS, **data}, training={"seed": seed})).train.ids

    assert ids(0) == ids(0) != ids(1)
    assert ids(0, draw=1) == ids(5, draw=1) == ids(1)


class Stopped(Exception):
    """Stands for whatever ends a process."""


def stop_at(count, what, done, total):
    if what.startswith("training") and done == count:
        raise Stopped


def test_stopped_and_started_again_it_is_the_same_run(few):
    whole, events, _ = few("whole", lr=1e-3)
    for count in (1, 3):  # before and after the first resume point
        with pytest.raises(Stopped):
            few("stopped", progress=functools.partial(stop_at, count), lr=1e-3)
    found, again, _ = few("stopped", lr=1e-3)
    assert (found.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
    assert epochs(again) == epochs(events)


@pytest.mark.parametrize("method", ["full", "linear-probe-lbfgs"])
def test_other_methods_learn_from_few_images_too(few, method):
    run, _, _ = few(method, method, lr=1e-3)
    assert run.is_trained


def test_more_shots_than_images_are_refused_before_anything_is_written(recipe, tmp_path):
    with pytest.raises(CallError, match="60 images of every class cannot be drawn from the val"):
        load_data(recipe(data={"shots": 60}))


@pytest.mark.parametrize("shots", [4, 16, 32])
@pytest.mark.parametrize("name", ["sst2-flyp", "patchcamelyon-flyp"])
def test_the_published_protocol_is_a_recipe(name, shots):
    found = resolve(name, [f"data.shots={shots}"])
    assert (found.training.select, found.training.warmup, found.training.epochs) == ("val-loss", 0, 20)
    assert found.training.batch_size >= 2 * shots and found.data.draw == -1
    expected = {"sst2-flyp": (1e-5, 0.2), "patchcamelyon-flyp": (1e-6, 0.0)}[name]
    assert (found.training.lr, found.training.weight_decay) == expected
