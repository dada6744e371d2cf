"""The two baselines that hold full fine-tuning back: by weights (`l2-to-start`) and by outputs."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vlm_data.loading import Batch
from vlm_finetune.finetuning import zero_shot_model
from vlm_finetune.lora import adapt
from vlm_finetune.losses import output_distillation
from vlm_finetune.recipe import METHODS
from vlm_models import load_model


def built(recipe, benchmark, name, **settings):
    own = recipe(name, method=settings)
    return METHODS.load(name).build(zero_shot_model(own, benchmark), own.method_settings, 10)


def batch_of(benchmark, rows=24):
    train = benchmark.train
    images = torch.from_numpy(train.images[:rows]).permute(0, 3, 1, 2).contiguous()
    return Batch(torch.arange(rows), images, torch.from_numpy(train.labels[:rows]))


@torch.no_grad()
def disturb(method):
    generator = torch.Generator().manual_seed(3)
    for parameter in method.trained():
        parameter += 0.02 * torch.randn(parameter.shape, generator=generator)


def tower_of(state):
    return {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}


def distance(a, b):
    """Squared distance of two encoders, tensor by tensor in double precision."""
    return sum((tensor.double() - b[name].double()).square().sum().item() for name, tensor in tower_of(a).items())


@pytest.mark.parametrize("name", ["l2-to-start", "output-distillation"])
class TestBoth:
    @pytest.mark.parametrize("coefficient", [0.0, 2.0])
    def test_the_first_step_is_that_of_full_fine_tuning(self, name, coefficient, recipe, digits):
        batch, gradients = batch_of(digits), []
        for method in (built(recipe, digits, name, coefficient=coefficient), built(recipe, digits, "full")):
            loss = method(batch, 0)["loss"]
            loss.backward()
            gradients.append([p.grad for p in method.trained()] + [loss.detach()])
        for found, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)

    def test_the_terms_add_up(self, name, recipe, digits):
        method = built(recipe, digits, name, coefficient=0.7)
        disturb(method)
        found = method(batch_of(digits), 3)
        (term,) = set(found) - {"loss", "cross_entropy"}
        assert found[term] > 0.01
        torch.testing.assert_close(found["loss"], found["cross_entropy"] + 0.7 * found[term])

    def test_a_strong_pull_keeps_the_model_near_its_start(self, name, digits, train, tmp_path):
        ends = []
        for coefficient in (0.0, 30.0):
            settings = {"coefficient": coefficient}
            longer = {"select": "last", "epochs": 8}
            run, events = train(name, tmp_path / str(coefficient), method=settings, training=longer)
            steps = [event for event in events if event["event"] == "step"]
            (term,) = steps[-1].keys() & {"squared_distance", "divergence"}
            ends.append(sum(step[term] for step in steps[-3:]))
            model, before = load_model(run.spec), zero_shot_model(run.recipe, digits)
            assert distance(model.state_dict(), before.state_dict()) > 0
        assert ends[1] < ends[0] / 2


class TestL2ToStart:
    def test_the_penalty_is_the_distance_of_the_towers(self, recipe, digits):
        method = built(recipe, digits, "l2-to-start")
        before = {name: tensor.clone() for name, tensor in method.model.state_dict().items()}
        assert method.squared_distance() == 0
        disturb(method)
        expected = distance(method.model.state_dict(), before)
        assert method.squared_distance().item() == pytest.approx(expected, rel=1e-5)
        method.squared_distance().backward()
        for name, parameter in method.model.encoder.image_tower().named_parameters():
            start = before[f"encoder.clip.visual.{name}"]
            if "in_proj_bias" not in name:  # its part for keys, on which nothing depends, is kept from moving
                torch.testing.assert_close(parameter.grad, 2 * (parameter.detach() - start))
        assert method.model.head.weight.grad is None

    @pytest.mark.parametrize("autocast", [False, True])
    def test_with_adapters_it_is_the_distance_of_the_merged_weights(self, autocast, recipe, digits):
        own = recipe("l2-to-start", lora={"rank": 4})
        method = built(recipe, digits, "l2-to-start")
        before = {name: tensor.clone() for name, tensor in method.model.state_dict().items()}
        adapt(method, own.lora, seed=1)
        disturb(method)
        expected = distance(method.classifier().state_dict(), before)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = method.squared_distance()
        assert expected > 0.1 and found.item() == pytest.approx(expected, rel=1e-4)
        found.backward()
        assert all(p.grad.any() for name, p in method.named_parameters() if p.requires_grad and "lora_" in name)


class TestOutputDistillation:
    @given(st.integers(0, 2**31), st.floats(0.1, 10))
    def test_the_divergence_is_the_definition_written_out(self, seed, temperature):
        generator = torch.Generator().manual_seed(seed)
        logits, teacher = 8 * torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
        q, p = (teacher / temperature).softmax(1), (logits / temperature).softmax(1)
        expected = temperature**2 * (q * (q / p).log()).sum(1).mean()
        found = output_distillation(logits, teacher, temperature=temperature)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
        assert found >= 0
        assert output_distillation(logits, logits).abs() < 1e-12

    def test_extreme_logits_give_a_finite_value_and_gradient(self):
        logits = torch.tensor([[0.0, 400.0]], requires_grad=True)
        loss = output_distillation(logits, torch.tensor([[400.0, 0.0]]))
        loss.backward()
        assert loss.item() == pytest.approx(400) and logits.grad.isfinite().all()

    def test_the_gradient_is_that_of_soft_labels(self):
        generator = torch.Generator().manual_seed(0)
        logits, teacher = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
        teacher.requires_grad_()
        gradients = []
        for loss in (output_distillation, lambda z, t: functional.cross_entropy(z, t.softmax(1))):
            leaf = logits.clone().requires_grad_()
            gradients.append(torch.autograd.grad(loss(leaf, teacher), leaf)[0])
        torch.testing.assert_close(*gradients)
        output_distillation(logits.requires_grad_(), teacher).backward()
        assert teacher.grad is None

    def test_the_zero_shot_model_stays_and_is_no_part_of_the_module(self, recipe, digits):
        method = built(recipe, digits, "output-distillation", temperature=2.0)
        before = copy.deepcopy(method.model)
        disturb(method)
        method.train()
        batch = batch_of(digits)
        with torch.no_grad():
            logits = method.model(batch.images)
            expected = output_distillation(logits, before.eval()(batch.images), temperature=2.0)
            torch.testing.assert_close(method(batch, 5)["divergence"], expected)
        assert not set(method.state_dict()) - {f"model.{name}" for name in before.state_dict()}
        assert method.companions() == {}
