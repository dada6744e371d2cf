"""Grad-CAM of matching models against the arrays of their authors, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from specimens.towers import tower
from vlm_data.errors import CallError
from vlm_explain.relevance import RelevanceOptions, explain_batch, relevance_maps
from vlm_explain.relevance.heatmap import heat_maps
from vlm_explain.relevance.methods.cross_attention import matching_relevance, phrase_map, token_maps
from vlm_explain.relevance.state import undisturbed
from vlm_models import load_encoder
from vlm_models.zero_shot import zero_shot_classifier

GOLDEN = Path(__file__).parents[2] / "golden" / "fusion"


@pytest.fixture(scope="module", params=["albef", "blip"])
def folder(request, tmp_path_factory):
    place, source = tmp_path_factory.mktemp(request.param), GOLDEN / request.param
    torch.save({"model": load_file(source / "checkpoint.safetensors")}, place / "weights.pth")
    shutil.copy(source / "config.json", place)
    shutil.copy(GOLDEN / "tokenizer" / "vocab.txt", place)
    return request.param, place


@pytest.fixture(params=["native", "resized"])
def golden(request, folder):
    family, place = folder
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    option = f",image_size={config['resized_image_size']}" if request.param == "resized" else ""
    inputs, outputs = (load_file(GOLDEN / family / f"{name}.safetensors") for name in ("inputs", "outputs"))
    expected = {
        name.removeprefix(f"{request.param}."): values
        for name, values in outputs.items()
        if name.startswith(request.param)
    }
    model = load_encoder(f"{family}:{place}/weights.pth{option}")
    layer = config["gradcam_itm_text_layer"] - config.get("fusion_layer", 0)
    return model, inputs[f"image_{request.param}"], inputs["input_ids"], layer, expected


def close(found, expected, tolerance=2e-5):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("frozen", [False, True])
def test_golden_maps_of_tokens_and_phrases(golden, frozen):
    model, images, tokens, layer, expected = golden
    model.requires_grad_(not frozen)
    with undisturbed(model):
        maps, logits = matching_relevance(model, model.vision_tokens(images), tokens, layer=layer)
        alone, _ = matching_relevance(model, model.vision_tokens(images[1:2]), tokens[1:2], layer=layer)
    close(maps, expected["gradcam_itm_tokens"])
    close(logits, expected["itm_logits"], 1e-4)
    close(alone, maps[1:2])
    words = tokens != 0
    close(phrase_map(maps.flatten(2), words).unflatten(1, maps.shape[2:]), expected["gradcam_itm"])
    without = phrase_map(maps.flatten(2), words, count_padding=False).unflatten(1, maps.shape[2:])
    share = words.float().mean(dim=1)[:, None, None]
    close(without * share, expected["gradcam_itm"])
    assert share.min() < 1
    stretched = [heat_maps(raw, (32, 32))[0] for raw in (without, expected["gradcam_itm"])]
    torch.testing.assert_close(*stretched, atol=1e-3, rtol=0)  # how padding counts cannot be seen in the end


def test_padding_has_no_map():
    one, slope = torch.full((1, 2, 3, 4), 0.25), torch.ones(1, 2, 3, 4)
    maps = token_maps(one, slope, torch.tensor([[True, True, False]]))
    assert maps[0, 2].eq(0).all() and maps[0, :2].eq(0.25).all()


@pytest.fixture(scope="module", params=["albef", "blip"])
def model(request, tmp_path_factory):
    encoder = tower(request.param, tmp_path_factory.mktemp("tower"))
    return zero_shot_classifier(encoder, ["c", "d", "o"], ["a {c}", "{c} of a"])


def images_for(model):
    side = model.encoder.preprocess.size
    return torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_the_map_of_a_class_is_that_of_its_prompts(model):
    encoder, images = model.encoder, images_for(model)
    found = explain_batch(model, images, torch.tensor([1, 0]), RelevanceOptions("cross-attention")).raw
    parts = []
    with undisturbed(encoder):
        for texts in (["a d", "a c"], ["d of a", "c of a"]):
            maps, _ = matching_relevance(encoder, encoder.vision_tokens(images), encoder.tokenize(texts))
            parts.append(maps.mean(dim=1))
    torch.testing.assert_close(found, (parts[0] + parts[1]) / 2)


def test_the_layer_is_the_published_one_in_models_of_published_depth(model):
    encoder = model.encoder
    modules = encoder.attention_modules("cross")
    encoder.attention_modules = lambda tower: modules * 3 if encoder.fusion_encoder else modules[:1] * 12
    try:
        assert encoder.grounding_layer == (2 if encoder.fusion_encoder else 7)
    finally:
        del encoder.attention_modules


def test_scalars_and_targets_that_mean_nothing_are_refused(model):
    images, labels = images_for(model), torch.tensor([0, 1])
    logit = relevance_maps(model, images, labels, method="cross-attention")
    odds = relevance_maps(model, images, labels, method="cross-attention", scalar="probability")
    assert odds.shape == logit.shape
    with pytest.raises(CallError, match=r"no contrast of two\. Choose target=label"):
        relevance_maps(model, images, labels, method="cross-attention", target="contrast")
    with pytest.raises(CallError, match="a match has no scalar 'cosine'; expected logit or probability"):
        relevance_maps(model, images, labels, method="cross-attention", scalar="cosine")
