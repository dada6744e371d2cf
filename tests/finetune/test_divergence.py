import pytest
import torch

from vlm_finetune.errors import DivergedError
from vlm_finetune.resume import newest_point
from vlm_finetune.run import LOG, open_run
from vlm_finetune.run_log import read_log
from vlm_models.checkpoint import read_weights

# three steps of warm-up to a tiny rate; then `min_lr` is added, and the fourth update destroys the weights
EXPLODES = {"epochs": 3, "lr": 1e-9, "warmup": 3, "min_lr": 1e30}


def finite(state):
    return all(tensor.isfinite().all() for tensor in state.values())


@pytest.mark.parametrize("method", ["full", "flyp", "carot", "linear-probe", "lp-ft"])
def test_it_stops_at_the_step_and_keeps_what_was_good(method, train, tmp_path):
    with pytest.raises(DivergedError) as caught:
        train(method, training=EXPLODES)
    message, run = str(caught.value), open_run(tmp_path / "run")
    assert "at optimiser step " in message and "nan" in message.lower()
    assert "Try a smaller --lr (it was 1e-09)" in message and "clip_norm" in message
    assert caught.value.exit_code == 1
    assert not run.is_trained
    phase = 1 if method == "lp-ft" else 0
    assert newest_point(run.path / "resume")[:2] == (phase, 3)
    assert finite(read_weights(newest_point(run.path / "resume")[2] / "model.safetensors"))
    assert finite(read_weights(run.path / "resume" / f"best-phase-{phase}.safetensors"))


def test_the_log_ends_with_the_step_that_is_named(train, tmp_path):
    with pytest.raises(DivergedError, match="the loss became nan at optimiser step 5"):
        train("full", training=EXPLODES)
    steps = [event for event in read_log(tmp_path / "run" / LOG) if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2, 3, 4, 5]
    assert steps[-1]["loss"] != steps[-1]["loss"] and steps[-2]["loss"] == steps[-2]["loss"]


def test_the_same_command_again_says_the_same(train, tmp_path):
    for _ in range(2):
        with pytest.raises(DivergedError, match="at optimiser step 5"):
            train("full", training=EXPLODES)


@pytest.mark.parametrize("save_every", [1, 2])
def test_no_resume_point_is_made_of_destroyed_weights(save_every, train, tmp_path):
    with pytest.raises(DivergedError, match="the weights became infinite or NaN at optimiser step 4"):
        train("full", training={**EXPLODES, "min_lr": 1e39, "save_every": save_every})
    point = newest_point(tmp_path / "run" / "resume")
    assert point[:2] == (0, 3)
    assert finite(read_weights(point[2] / "model.safetensors"))


def test_a_bad_last_update_of_an_epoch_is_noticed_before_it_is_judged(train, tmp_path):
    # one step per epoch: the loss of step 2 is taken before its update
    settings = {**EXPLODES, "epochs": 2, "warmup": 1, "batch_size": 96}
    with pytest.raises(DivergedError, match="at optimiser step 2"):
        train("full", training=settings)
    run = open_run(tmp_path / "run")
    epochs = [event["epoch"] for event in read_log(run.path / LOG) if event["event"] == "epoch"]
    assert epochs == [1] and not run.is_trained
    assert finite(read_weights(run.path / "resume" / "best-phase-0.safetensors"))


def test_a_bad_only_update_leaves_no_model(train, tmp_path):
    with pytest.raises(DivergedError, match="at optimiser step 1"):
        train("full", training={"epochs": 1, "batch_size": 96, "lr": 1e30, "warmup": 0})
    assert not open_run(tmp_path / "run").is_trained
    assert not list((tmp_path / "run").glob("resume/best*"))


def test_a_rate_that_is_merely_too_high_stops_nothing(train):
    _, events = train("full", training={"lr": 0.5, "warmup": 0})
    steps = [event for event in events if event["event"] == "step"]
    assert len(steps) == 9 and all(torch.tensor(event["loss"]).isfinite() for event in steps)
