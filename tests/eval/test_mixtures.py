import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from specimens.wise import published
from vlm_data import load_benchmark
from vlm_data.benchmark import EvaluationSet
from vlm_data.errors import CallError
from vlm_eval import predict
from vlm_eval.evaluation import interpolate_models
from vlm_eval.interpolation.mixtures import PLAIN, Mixture, by_fisher, by_layer
from vlm_eval.sweep import Interpolation, evaluate_interpolations
from vlm_models.classifier import LINEAR, ZERO_SHOT
from vlm_models.fisher import fisher_information
from vlm_models.weight_space import fisher_merge, interpolate_layers
from vlm_models.zero_shot import load_classifier, zero_shot_head

GOLDEN = Path(__file__).parents[1] / "golden" / "wise"
WEIGHTS = load_file(GOLDEN / "weights.safetensors")
MERGES = sorted({re.match(r"fisher_merge/alpha=[^/]*/floor=[^/]*", name)[0] for name in WEIGHTS if "_merge/" in name})
IMAGES = torch.randint(0, 256, (7, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def published_information(number):
    """The golden information under our names; that of one bias is taken to be absent, as the golden data says."""
    names = {"image_encoder.": "encoder.tower.", "classification_head.": "head."}
    found = {}
    for name, tensor in WEIGHTS.items():
        group, _, rest = name.partition("/")
        if group == f"fisher{number}" and rest != "image_encoder.fc1.bias":
            start = next(start for start in names if rest.startswith(start))
            found[names[start] + rest.removeprefix(start)] = tensor
    return found


@pytest.mark.parametrize("group", MERGES)
def test_published_fisher_merge(group):
    alpha, floor = (float(value) for value in re.findall(r"=([^/]+)", group))
    information = [published_information(number) for number in (0, 1)]
    mixture = Mixture("f", lambda one, other, a: fisher_merge(one, other, a, *information, floor))
    interpolation = Interpolation(published("theta0"), published("theta1"), [alpha], mixture)
    expected = published(group)
    merged = interpolation.model(alpha).state_dict()
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(merged[name], tensor, rtol=0, atol=1e-5)
    images = torch.from_numpy(np.load(GOLDEN / "sweep.npz")["x_ref"][:8].astype(np.float32))
    with torch.no_grad():
        torch.testing.assert_close(interpolation.logits(images)[:, 0], expected(images), rtol=0, atol=5e-4)


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=16)


def model_like(digits, head, seed=None):
    """The embedded model, moved at random; with a head that is trained, or built from the text tower."""
    model = load_classifier("tiny", digits.class_names, digits.templates)
    generator = torch.Generator().manual_seed(seed or 0)
    if seed is not None:
        with torch.no_grad():
            for parameter in model.encoder.parameters():
                parameter += 0.2 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator)
            if head == LINEAR:
                model.head.weight += torch.randn(model.head.weight.shape, generator=generator)
            else:
                model.head = zero_shot_head(model.encoder, digits.class_names, digits.templates)
    model.head_kind = head
    return model


@pytest.fixture(scope="module", params=[LINEAR, ZERO_SHOT])
def ends(request, digits):
    return model_like(digits, ZERO_SHOT), model_like(digits, request.param, seed=1)


@pytest.fixture(scope="module")
def fisher(ends, digits, tmp_path_factory):
    return by_fisher(*ends, digits.train, tmp_path_factory.mktemp("fisher"), samples=8)


def assert_like(model, expected, images=IMAGES):
    with torch.inference_mode():
        torch.testing.assert_close(expected, model(images), rtol=0, atol=1e-3)


class TestFisher:
    def test_a_batch_is_classified_by_the_merged_models(self, ends, fisher):
        alphas = (0.0, 0.3, 1.0)
        interpolation = Interpolation(*ends, alphas, fisher)
        logits = interpolation.logits(IMAGES)
        for index, alpha in enumerate(alphas):
            assert_like(interpolation.model(alpha), logits[:, index])
        plain = Interpolation(*ends, alphas).logits(IMAGES)
        torch.testing.assert_close(logits[:, [0, 2]], plain[:, [0, 2]], rtol=0, atol=1e-4)
        assert not torch.allclose(logits[:, 1], plain[:, 1], atol=1e-2)

    def test_weights_are_those_of_the_definition(self, ends, fisher, digits):
        rows = np.sort(np.random.default_rng(0).permutation(16)[:8]).tolist()
        information = [fisher_information(model, digits.train.select(rows)).information for model in ends]
        expected = fisher_merge(*(model.state_dict() for model in ends), 0.4, *information)
        merged = Interpolation(*ends, [], fisher).model(0.4)
        for name, tensor in merged.state_dict().items():
            if name.startswith("encoder.") or merged.head_kind == LINEAR:
                torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("floor", [-1, float("nan"), float("inf")])
    def test_a_floor_that_is_no_information_is_refused(self, ends, digits, tmp_path, floor):
        with pytest.raises(CallError, match=f"floor of the Fisher information is {floor}; expected 0 or more"):
            by_fisher(*ends, digits.train, tmp_path, floor=floor)


class TestLayers:
    PARTS = {"encoder.clip.visual": 0.2, "encoder.clip.visual.proj": 0.9}  # noqa: RUF012

    def test_a_batch_is_classified_by_the_merged_models(self, ends):
        alphas = (0.0, 0.5, 1.0)
        interpolation = Interpolation(*ends, alphas, by_layer(self.PARTS, *ends))
        logits = interpolation.logits(IMAGES)
        for index, alpha in enumerate(alphas):
            model = interpolation.model(alpha)
            assert_like(model, logits[:, index])
            expected = interpolate_layers(ends[0].state_dict(), ends[1].state_dict(), self.PARTS, alpha)
            for name, tensor in model.encoder.state_dict().items():
                torch.testing.assert_close(tensor, expected[f"encoder.{name}"], rtol=0, atol=1e-6)

    def test_one_alpha_for_everything_is_plain(self, ends):
        plain = Interpolation(*ends, [0.3]).logits(IMAGES)
        layers = Interpolation(*ends, [0.3], by_layer({"encoder.clip.visual": 0.3}, *ends)).logits(IMAGES)
        torch.testing.assert_close(layers, plain, rtol=0, atol=1e-4)

    def test_a_part_that_does_not_exist_is_refused(self, ends):
        with pytest.raises(CallError, match=r"unknown part of the model 'encoder\.clip\.visuals'\. Did you mean"):
            by_layer({"encoder.clip.visuals": 0.5}, *ends)

    def test_a_head_that_is_built_anew_has_no_alpha(self, digits, ends):
        if ends[1].head_kind == LINEAR:
            found = Interpolation(*ends, [1.0], by_layer({"head": 0.0}, *ends)).model(1.0)
            assert torch.equal(found.head.weight, ends[0].head.weight)
        else:
            with pytest.raises(CallError, match="head cannot have an alpha: neither head was trained"):
                by_layer({"head": 0.5}, *ends)


def test_only_heads_differ(digits):
    start, end = model_like(digits, ZERO_SHOT), model_like(digits, LINEAR)
    with torch.no_grad():
        end.head.weight += torch.randn(end.head.weight.shape, generator=torch.Generator().manual_seed(3))
    mixture = by_layer({"head.weight": 0.25}, start, end)
    interpolation = Interpolation(start, end, (0.0, 1.0), mixture)
    for index, alpha in enumerate((0.0, 1.0)):
        assert_like(interpolation.model(alpha), interpolation.logits(IMAGES)[:, index])


def test_tables_of_one_rule_do_not_pass_for_those_of_another(ends, digits, fisher, tmp_path):
    sets = [EvaluationSet("digits", "id", digits.test)]
    hashes = set()
    layers = [by_layer({"encoder.clip.visual": value}, *ends) for value in (0.2, 0.3)]
    for mixture in (PLAIN, fisher, *layers):
        tables = list(evaluate_interpolations(*ends, sets, (0.0, 0.5, 1.0), mixture=mixture, out=tmp_path))
        names = [table.meta["model"] for table in tables]
        assert names == (["zero-shot", mixture.name, "fine-tuned"] if mixture.keeps_ends else [mixture.name] * 3)
        hashes |= {table.meta["weights_hash"] for table in tables}
        expected = predict(Interpolation(*ends, [], mixture).model(0.5), digits.test)
        np.testing.assert_allclose(tables[1].logits, expected.logits, rtol=0, atol=1e-3)
    assert len(hashes) == 2 + 2 + 2 * 3


def test_rows_carry_what_they_are(ends, digits, fisher):
    own = dataclasses.replace(digits, shifts=())
    rows = interpolate_models(*ends, own, (0.0, 0.5, 1.0), mixture=fisher)
    assert {(row["model"], row["alpha"]) for row in rows} == {
        ("zero-shot", 0.0),
        ("fisher-merged", 0.5),
        ("fine-tuned", 1.0),
    }
