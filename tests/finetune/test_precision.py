import math
import os

import pytest
import torch

from vlm_data.errors import CallError
from vlm_finetune.devices import accelerator, processes
from vlm_finetune.finetuning import finetune, zero_shot_model
from vlm_finetune.recipe import METHODS
from vlm_models import load_model
from vlm_models.checkpoint import read_weights

LOOPED = [name for name in METHODS.names() if not hasattr(METHODS.load(name), "search")]
"""Methods that take steps of the loop; the others fit heads to features, see `test_head_search`."""


def steps_of(events):
    return [event for event in events if event["event"] == "step"]


@pytest.mark.parametrize("method", LOOPED)
def test_bf16_trains_on_a_cpu_and_keeps_single_precision_weights(method, train, tmp_path):
    found, events = train(method, tmp_path / "bf16", model={"precision": "bf16"})
    _, expected = train(method, tmp_path / "fp32")
    assert {tensor.dtype for tensor in read_weights(found.path / "model.safetensors").values()} == {torch.float32}
    assert all(
        event["loss"] != other["loss"] for event, other in zip(steps_of(events), steps_of(expected), strict=True)
    )
    for event, other in zip(steps_of(events), steps_of(expected), strict=True):
        assert event["loss"] == pytest.approx(other["loss"], rel=0.1, abs=0.05)
    name = "val_nll"
    last, other = ([e for e in log if e["event"] == "epoch"][-1] for log in (events, expected))
    assert last[name] == pytest.approx(other[name], rel=0.1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 exists here")
def test_fp16_without_a_gpu_is_refused_and_leaves_no_directory(recipe, tmp_path):
    with pytest.raises(CallError, match=r"precision fp16 needs a GPU.*Use --precision bf16 or fp32"):
        finetune(recipe(model={"precision": "fp16"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_logged_norm_is_that_of_the_gradient(train, recipe, digits):
    _, events = train("full", training={"batch_size": 96, "clip_norm": 1e-3})
    model = zero_shot_model(recipe(), digits)
    method = METHODS.load("full").build(model, METHODS.load("full").Config(), 1)
    images = torch.from_numpy(digits.train.images).permute(0, 3, 1, 2)
    torch.nn.functional.cross_entropy(method.model(images), torch.from_numpy(digits.train.labels)).backward()
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in method.trained()))
    assert steps_of(events)[0]["grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_clipping_limits_what_a_step_can_do(train, tmp_path):
    """With a norm far below Adam's epsilon nothing but the weight decay is left of an update."""
    tables = {"training": {"epochs": 1, "lr": 1e-2, "weight_decay": 0.0, "warmup": 0, "select": "last"}}
    free, _ = train("full", tmp_path / "free", **tables)
    tables["training"]["clip_norm"] = 1e-12
    clipped, _ = train("full", tmp_path / "clipped", **tables)
    base = load_model("tiny").state_dict()

    def largest_move(run):
        state = load_model(run.spec).encoder.state_dict()
        return max((state[name] - base[name]).abs().max().item() for name in base)

    assert largest_move(free) > 1e-2
    assert largest_move(clipped) < 1e-5


@pytest.mark.gpu
def test_fp16_clips_unscaled_gradients(train, tmp_path):
    tables = {"training": {"clip_norm": 1.0}}
    with processes("cuda"):
        found, events = train("full", tmp_path / "fp16", model={"precision": "fp16"}, **tables)
        _, expected = train("full", tmp_path / "fp32", **tables)
    # were they measured before un-scaling, norms would be 65536 times as large
    for event, other in zip(steps_of(events)[:3], steps_of(expected)[:3], strict=True):
        assert event["grad_norm"] == pytest.approx(other["grad_norm"], rel=0.2)
    assert {tensor.dtype for tensor in read_weights(found.path / "model.safetensors").values()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", LOOPED)
def test_every_method_trains_on_a_gpu(method, precision, train):
    with processes("cuda"):
        _, events = train(method, model={"precision": precision}, training={"epochs": 4})
    steps = steps_of(events)
    key = "contrastive" if "contrastive" in steps[-1] else "loss"
    last = [event[key] for event in steps if event["phase"] == steps[-1]["phase"]]
    assert sum(last[-3:]) < sum(last[:3])
    assert next(event for event in events if event["event"] == "start")["device"].startswith("cuda")


class TestDevices:
    @pytest.mark.parametrize(("device", "message"), [("gpu", "'gpu' is no device"), ("meta", "offers no 'meta'")])
    def test_what_is_none(self, device, message):
        with pytest.raises(CallError, match=message), processes(device):
            pass

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
    def test_a_gpu_that_is_not_there(self):
        with pytest.raises(CallError, match="this machine offers no 'cuda:1' to PyTorch"), processes("cuda:1"):
            pass

    def test_the_cpu_is_always_there(self):
        with processes("cpu") as state:
            assert state.device.type == "cpu" and state.is_main_process

    @pytest.mark.gpu
    def test_the_device_is_the_one_that_was_asked_for_whatever_ran_before(self):
        for device in ("cuda:0", "cpu", "cuda", "cpu"):
            with processes(device) as state:
                assert state.device.type == device.partition(":")[0]
            assert "ACCELERATE_TORCH_DEVICE" not in os.environ

    @pytest.mark.gpu
    def test_fp16_on_the_cpu_of_a_machine_with_a_gpu(self):
        with processes("cpu"), pytest.raises(CallError, match="precision fp16 needs a GPU"):
            accelerator("fp16")

    def test_one_training_after_another_may_use_another_precision(self):
        assert accelerator("bf16").mixed_precision == "bf16"
        assert accelerator("fp32").mixed_precision == "no"
