import pytest
import torch
from torch import nn

from vlm_data.errors import CallError
from vlm_finetune.optim import adamw, parameter_groups


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def test_everything_is_decayed_as_published():
    model = network()
    (group,) = parameter_groups(model, 0.1)
    assert len(group["params"]) == len(list(model.parameters()))
    assert group["weight_decay"] == 0.1


def test_vectors_and_scalars_can_be_spared():
    model = network()
    model.register_parameter("logit_scale", nn.Parameter(torch.tensor(1.0)))
    decayed, spared = parameter_groups(model, 0.1, exclude_vectors=True)
    assert {parameter.ndim for parameter in decayed["params"]} == {2}
    assert {parameter.ndim for parameter in spared["params"]} == {0, 1}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_frozen_parameters_are_left_out():
    model = network()
    model[0].requires_grad_(False)
    assert len(adamw(model, 1e-3, 0.1).param_groups[0]["params"]) == 4


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(CallError, match="Sequential has no trainable parameter"):
        adamw(network().requires_grad_(False), 1e-3, 0.1)


def test_a_step_is_decay_then_adam():
    parameter = nn.Module()
    parameter.register_parameter("weight", nn.Parameter(torch.tensor([2.0, -1.0], dtype=torch.float64)))
    optimizer = adamw(parameter, lr=0.1, weight_decay=0.5)
    parameter.weight.grad = torch.tensor([3.0, -4.0], dtype=torch.float64)
    optimizer.step()
    # the first Adam step has length lr in every coordinate
    expected = torch.tensor([2.0, -1.0], dtype=torch.float64) * (1 - 0.1 * 0.5) - 0.1 * torch.tensor([1.0, -1.0])
    torch.testing.assert_close(parameter.weight.detach(), expected, rtol=1e-7, atol=1e-7)
