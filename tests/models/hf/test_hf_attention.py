"""Recorded attention of `hf:` models against what the library returns when it computes attention step by step."""

import copy

import pytest
import torch
from torch.nn import functional
from transformers import AutoModel

from vlm_models import load_encoder
from vlm_models.attention import record_attention
from vlm_models.capabilities import CapabilityError

KINDS = ("clip", "metaclip_2", "siglip", "siglip2", "chinese_clip", "altclip")
SIGMOID = ("siglip", "siglip2")
TEXTS = ["a photo of a cat.", "Dog"]


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture(params=KINDS)
def pair(request, published):
    """The encoder, and the same weights in a second model of the library that never fuses attention."""
    folder, library = published(request.param)
    eager = AutoModel.from_config(copy.deepcopy(library.config), attn_implementation="eager").eval()
    eager.load_state_dict(library.state_dict())
    return request.param, load_encoder(f"hf:{folder}"), eager


def score(image, text, scale):
    """A score that every feature has a part in."""
    logits = scale * functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T
    return (logits * torch.tensor([[1.0, -0.5], [0.3, 0.7]])).sum()


def features(encoder, images):
    return encoder.encode_image(images), encoder.encode_text(encoder.tokenize(TEXTS))


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_probabilities_and_gradients_are_those_of_the_library(pair, images, tower):
    kind, encoder, eager = pair
    tokens = encoder.tokenize(TEXTS)
    mask = (tokens != encoder.tokens.padding).long() if kind in ("chinese_clip", "altclip") else None
    pixels = encoder.preprocess.normalise(images)
    inputs = {"pixel_values": pixels}
    if kind == "siglip2":
        patches = functional.unfold(pixels, 8, stride=8).transpose(1, 2)  # pixels of a patch in (channel, row, column)
        patches = patches.unflatten(2, (3, 8, 8)).permute(0, 1, 3, 4, 2).flatten(2)
        inputs = {"pixel_values": patches, "spatial_shapes": torch.tensor([[4, 4], [4, 4]])}
        inputs["pixel_attention_mask"] = torch.ones(2, 16, dtype=torch.int64)
    seen = eager.get_image_features(**inputs, output_attentions=True)
    read = eager.get_text_features(input_ids=tokens, attention_mask=mask, output_attentions=True)
    expected = (seen if tower == "vision" else read).attentions
    assert len(expected) == 2
    wanted = torch.autograd.grad(score(seen.pooler_output, read.pooler_output, eager.logit_scale.exp()), expected)
    with record_attention(encoder, tower) as attention:
        found = score(*features(encoder, images), encoder.logit_scale)
    length = attention.probabilities[0].shape[-1]  # a BERT is spared the columns that all texts pad
    gradients = attention.gradients(found)
    for layer in range(2):
        ours, theirs = attention.probabilities[layer], expected[layer][..., :length, :length]
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(gradients[layer], wanted[layer][..., :length, :length], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(ours.sum(-1), torch.ones_like(ours.sum(-1)))
    assert max(float(gradient.abs().max()) for gradient in gradients) > 1e-3


def test_attention_of_the_pooling_head(pair, images):
    kind, encoder, eager = pair
    if kind not in SIGMOID:
        with (
            pytest.raises(CapabilityError, match="cannot do pooling attention"),
            record_attention(encoder, "pooling"),
        ):
            pass
        return
    with record_attention(encoder, "pooling") as attention:
        feature = encoder.encode_image(images)
    states = encoder.vision_tokens(images).tokens
    head = eager.vision_model.head
    _, expected = head.attention(head.probe.expand(2, 1, -1), states, states, average_attn_weights=False)
    torch.testing.assert_close(attention.probabilities[0], expected, atol=1e-6, rtol=1e-5)
    gradient = attention.gradients(feature.square().sum())[0]
    assert gradient.shape == (2, 3, 1, 16) and float(gradient.abs().max()) > 1e-3


@pytest.mark.parametrize("tower", ["vision", "text", "pooling"])
def test_recording_changes_nothing_and_leaves_nothing(pair, images, tower):
    kind, encoder, _ = pair
    if tower == "pooling" and kind not in SIGMOID:
        return
    before = {name: vars(module).copy() for name, module in encoder.named_modules()}
    expected = features(encoder, images)
    with record_attention(encoder, tower, [-1]):
        found = features(encoder, images)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    with pytest.raises(ZeroDivisionError), record_attention(encoder, tower):
        raise ZeroDivisionError
    assert all(vars(module).keys() == before[name].keys() for name, module in encoder.named_modules())
    again = features(encoder, images)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again, expected, strict=True))


def test_frozen_weights_are_explained_too(pair, images):
    _, encoder, _ = pair
    frozen = copy.deepcopy(encoder).requires_grad_(False)
    with record_attention(encoder, "vision", [-1]) as attention:
        expected = attention_gradient(encoder, images, attention)
    with record_attention(frozen, "vision", [-1]) as attention:
        found = attention_gradient(frozen, images, attention)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def attention_gradient(encoder, images, attention):
    return attention.gradients(encoder.encode_image(images).square().sum())[0]
