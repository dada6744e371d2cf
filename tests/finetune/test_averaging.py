import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vlm_finetune.averaging import WeightAverage
from vlm_finetune.finetuning import zero_shot_model
from vlm_finetune.validation import Validator
from vlm_models import load_model
from vlm_models.checkpoint import read_weights

ONE_STEP_PER_EPOCH = {"batch_size": 96, "select": "last"}


def parameter(value):
    return nn.Parameter(torch.full((3,), value, dtype=torch.float64))


@given(st.floats(0, 1, exclude_max=True), st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_the_average_is_the_sum_written_out(momentum, values):
    theta = parameter(2.0)
    average = WeightAverage({"theta": theta}, momentum)
    for value in values:
        with torch.no_grad():
            theta.fill_(value)
        average.update()
    steps = len(values)
    expected = momentum**steps * 2.0 + sum(
        (1 - momentum) * momentum ** (steps - 1 - step) * value for step, value in enumerate(values)
    )
    torch.testing.assert_close(average.state_dict()["theta"], torch.full((3,), expected, dtype=torch.float64))
    assert theta.tolist() == [values[-1]] * 3


@given(st.floats(0.1, 0.99), st.integers(1, 6))
def test_it_is_the_average_without_bias_interpolated_with_the_start(momentum, steps):
    start, values = 2.0, [0.5 * step**2 for step in range(steps)]
    theta = parameter(start)
    average = WeightAverage({"theta": theta}, momentum)
    for value in values:
        with torch.no_grad():
            theta.fill_(value)
        average.update()
    weights = [momentum ** (steps - 1 - step) for step in range(steps)]
    unbiased = sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
    alpha = 1 - momentum**steps
    assert average.state_dict()["theta"][0].item() == pytest.approx((1 - alpha) * start + alpha * unbiased)


def test_both_come_back_bit_by_bit_whatever_happens_between():
    theta = nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(0)))
    average = WeightAverage({"theta": theta}, 0.3)
    nn.init.normal_(theta)
    average.update()
    trained, averaged = theta.detach().clone(), average.state_dict()["theta"].clone()
    with pytest.raises(KeyboardInterrupt), average.in_place():
        assert torch.equal(theta, averaged)
        raise KeyboardInterrupt
    assert torch.equal(theta, trained) and torch.equal(average.state_dict()["theta"], averaged)


def test_a_restored_one_goes_on_where_it_stopped():
    theta = parameter(1.0)
    average, restored = (WeightAverage({"theta": theta}, 0.9) for _ in range(2))
    nn.init.constant_(theta, 4.0)
    average.update()
    restored.load_state_dict({name: tensor.clone() for name, tensor in average.state_dict().items()})
    for one in (average, restored):
        one.update()
    assert torch.equal(average.state_dict()["theta"], restored.state_dict()["theta"])
    with pytest.raises(KeyError, match="theta"):
        average.load_state_dict({"other": torch.zeros(3)})


@pytest.mark.parametrize("method", ["full", "flyp", "linear-probe"])
class TestOfARun:
    def test_the_saved_model_is_the_average_of_all_steps(self, method, digits, train, tmp_path):
        seen = []

        def keep(classifier, _):
            seen.append({name: tensor.clone() for name, tensor in classifier.state_dict().items()})
            return {}, []

        plain, expected = train(method, tmp_path / "plain", training=ONE_STEP_PER_EPOCH, after_epoch=keep)
        run, events = train(method, tmp_path / "average", training={**ONE_STEP_PER_EPOCH, "ema": 0.5})
        steps = [[event for event in log if event["event"] == "step"] for log in (events, expected)]
        assert steps[0] == steps[1] and len(seen) == 3  # training itself knows nothing of it
        seen.insert(0, zero_shot_model(run.recipe, digits).state_dict())
        saved = read_weights(run.path / "model.safetensors")
        rebuilt = load_model(run.spec).head_kind == "zero-shot"
        for name, tensor in saved.items():
            if not (rebuilt and name == "head.weight"):  # a function of the averaged text tower, not an average
                average = sum(w * state[name] for w, state in zip((0.125, 0.125, 0.25, 0.5), seen, strict=True))
                torch.testing.assert_close(tensor, average, rtol=1e-5, atol=1e-7)
        assert any(not torch.equal(tensor, seen[-1][name]) for name, tensor in saved.items())
        assert {path.name for path in run.path.glob("*")} == {path.name for path in plain.path.glob("*")}

    def test_the_validated_model_is_the_saved_one(self, method, digits, train):
        run, events = train(method, training={**ONE_STEP_PER_EPOCH, "ema": 0.9})
        accuracy, nll = Validator(digits.val, False).score(load_model(run.spec), "cpu")
        last = [event for event in events if event["event"] == "epoch"][-1]
        assert (last["val_accuracy"], last["val_nll"]) == pytest.approx((accuracy, nll), rel=1e-5)


def test_with_adapters_what_is_averaged_is_trained(digits, train):
    run, _ = train("full", lora={"rank": 2}, training={"ema": 0.5})
    before = zero_shot_model(run.recipe, digits).state_dict()
    after = load_model(run.spec).state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert any("attn" in name for name in moved) and not any("ln_" in name for name in moved)


def test_the_second_phase_starts_from_the_average_of_the_first(train, tmp_path):
    settings = {"epochs": 2, "select": "last", "ema": 0.5}
    probe, _ = train("linear-probe", tmp_path / "probe", training={**settings, "lr": 1e-2, "weight_decay": 0.0})
    both, _ = train("lp-ft", tmp_path / "both", training={**settings, "epochs": 0})
    assert torch.equal(load_model(probe.spec).head.weight, load_model(both.spec).head.weight)
