"""What every relevance method owes, on every kind of image tower: found by being in the folder of methods."""

import copy
import math

import pytest
import torch

from specimens.towers import TOWERS, tower
from vlm_data.errors import CallError
from vlm_explain.relevance import RelevanceOptions, explain_batch, relevance_maps
from vlm_explain.relevance.options import METHODS
from vlm_models.capabilities import CapabilityError
from vlm_models.zero_shot import zero_shot_classifier

CLASS_TOKEN = {"class token", "class token of transformers", "albef", "blip"}
SUITED = {
    "attention": CLASS_TOKEN,
    "rollout": CLASS_TOKEN,
    "pooling-attention": {"coca", "siglip"},
    "cross-attention": {"albef", "blip"},
    "grad-cam": set(TOWERS),
    "input-gradient": set(TOWERS),
}
"""Which towers each method explains; a new method is written in here."""
SEED = 11


PAIRS = [(kind, method) for kind in TOWERS for method in METHODS.names() if kind in SUITED.get(method, ())]
OTHERS = [(kind, method) for kind in TOWERS for method in METHODS.names() if (kind, method) not in PAIRS]


def of_pairs(pairs):
    """Parametrise a test by model and method."""
    return pytest.mark.parametrize(("model", "method"), pairs, indirect=["model"], scope="module")


@pytest.fixture(scope="module")
def model(request, tmp_path_factory):
    encoder = tower(request.param, tmp_path_factory.mktemp("tower"))
    return zero_shot_classifier(encoder, ["c", "d", "o"], ["a {c}"])


def images_for(model, count=3):
    side = model.encoder.preprocess.size
    generator = torch.Generator().manual_seed(SEED)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


LABELS = torch.tensor([0, 2, 1])


def snapshot(model):
    """Everything of a model that a method could leave changed."""
    modules = dict(model.named_modules())
    return {
        "training": {name: module.training for name, module in modules.items()},
        "own": {name: set(module.__dict__) for name, module in modules.items()},
        "hooks": {
            name: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for name, m in modules.items()
        },
        "asks": {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        "gradients": {name: parameter.grad is None for name, parameter in model.named_parameters()},
    }


def test_every_method_is_tested():
    assert set(METHODS.names()) == set(SUITED)
    for name in METHODS.names():
        info = METHODS.load(name).INFO
        assert info.summary and not info.summary.endswith(".")


@of_pairs(PAIRS)
class TestContract:
    def test_shapes_values_and_logits(self, model, method):
        images = images_for(model)
        found = explain_batch(model, images, LABELS, RelevanceOptions(method))
        assert found.maps.shape == (3, *images.shape[-2:]) and found.maps.dtype == torch.float32
        assert found.raw.ndim == 3 and found.raw.isfinite().all() and not found.raw.requires_grad
        assert found.raw.min() >= 0
        assert not found.flat.any()
        assert found.maps.amin(dim=(1, 2)).tolist() == [0, 0, 0] and found.maps.amax(dim=(1, 2)).tolist() == [1, 1, 1]
        with torch.no_grad():
            torch.testing.assert_close(found.logits, model(images), atol=1e-4, rtol=1e-4)
        assert not found.logits.requires_grad

    def test_one_image_is_a_row_of_the_batch_in_any_order(self, model, method):
        images, options = images_for(model), RelevanceOptions(method)
        expected = explain_batch(model, images, LABELS, options).raw
        order = torch.tensor([2, 0, 1])
        shuffled = explain_batch(model, images[order], LABELS[order], options).raw
        tolerance = {"rtol": 1e-4, "atol": 1e-5 * float(expected.max())}
        torch.testing.assert_close(shuffled, expected[order], **tolerance)
        for row in range(3):
            alone = explain_batch(model, images[row : row + 1], LABELS[row : row + 1], options).raw
            torch.testing.assert_close(alone, expected[row : row + 1], **tolerance)

    @pytest.mark.parametrize("frozen", [False, True])
    def test_the_model_is_left_as_it_was_and_trained_or_frozen_makes_no_difference(self, model, method, frozen):
        images = images_for(model)
        expected = explain_batch(model, images, LABELS, RelevanceOptions(method)).raw
        changed = copy.copy(model)
        changed.requires_grad_(not frozen)
        model.train()
        try:
            before = snapshot(changed)
            with torch.inference_mode():
                found = explain_batch(changed, images, LABELS, RelevanceOptions(method)).raw
            assert snapshot(changed) == before
        finally:
            model.eval().requires_grad_(True)
        torch.testing.assert_close(found, expected)

    def test_only_what_says_so_ignores_the_target(self, model, method):
        images = images_for(model)
        maps = [relevance_maps(model, images, torch.full((3,), label), method=method) for label in (0, 1)]
        assert torch.equal(*maps) is not METHODS.load(method).INFO.targeted

    def test_prediction_as_target_is_the_label_that_was_predicted(self, model, method):
        images = images_for(model)
        found = explain_batch(model, images, None, RelevanceOptions(method, target="prediction"))
        expected = relevance_maps(model, images, found.predicted, method=method)
        torch.testing.assert_close(found.maps, expected)

    def test_maps_of_models_in_half_precision_are_in_single(self, model, method):
        half = copy.deepcopy(model)
        half.encoder.to(torch.bfloat16)
        found = explain_batch(half, images_for(model), LABELS, RelevanceOptions(method))
        assert found.raw.dtype == found.maps.dtype == found.logits.dtype == torch.float32
        assert found.raw.isfinite().all() and not found.flat.all()

    def test_float_images_are_those_that_were_normalised(self, model, method):
        images = images_for(model)
        expected = relevance_maps(model, images, LABELS, method=method)
        found = relevance_maps(model, model.encoder.preprocess.normalise(images), LABELS, method=method)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@of_pairs(OTHERS)
def test_towers_that_cannot_are_told_what_to_do(model, method):
    before = snapshot(model)
    with pytest.raises(CapabilityError, match=r"cannot do|class token") as caught:
        relevance_maps(model, images_for(model), LABELS, method=method)
    assert model.encoder.spec in str(caught.value) and len(str(caught.value).split(". ")) > 1
    assert snapshot(model) == before


@of_pairs(PAIRS)
def test_layers_have_an_effect_where_they_are_said_to(model, method):
    info, images = METHODS.load(method).INFO, images_for(model)
    last, every = (
        explain_batch(model, images, LABELS, RelevanceOptions(method, layers)).raw for layers in ("last", "all")
    )
    assert torch.equal(last, every) is not info.layered
    if info.layered:
        with pytest.raises(CallError, match="layers=40 starts at a layer that is not there"):
            relevance_maps(model, images, LABELS, method=method, layers="40")


@of_pairs(PAIRS)
def test_texts_are_targets_of_a_dual_encoder(model, method):
    texts = ["a c", "a o", "a d"]
    images = images_for(model)
    found = relevance_maps(model.encoder, images, texts, method=method)
    torch.testing.assert_close(found, relevance_maps(model, images, LABELS, method=method), atol=1e-4, rtol=1e-4)
    assert math.isclose(float(found.max()), 1)
