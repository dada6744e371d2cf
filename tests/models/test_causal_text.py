"""Padding behind the end of texts is not encoded where it cannot matter."""

import open_clip
import pytest
import torch

from vlm_data.preprocess import Preprocess
from vlm_models import load_encoder
from vlm_models.openclip.encoder import OpenClipEncoder

VISION = {"image_size": 32, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8}
TEXT = {"context_length": 40, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
TEXTS = ["a photo of a dog", "a cat", "an origami of a very long name of a class", ""]


def encoder_of(kind=open_clip.CLIP, **text):
    """A random model in float64 whose text tower has these settings."""
    torch.manual_seed(0)
    clip = kind(8, open_clip.CLIPVisionCfg(**VISION), open_clip.CLIPTextCfg(**{**TEXT, **text})).double()
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=40)
    return OpenClipEncoder(
        clip, tokenizer, spec="r", architecture={}, preprocess=Preprocess(32), embedding_dim=8
    ).train()


CAUSAL = [
    (open_clip.CLIP, {}),
    (open_clip.CLIP, {"proj_bias": True}),
    (open_clip.CLIP, {"pool_type": "eos", "eos_id": 49407}),
    (open_clip.CLIP, {"proj_type": "none", "width": 8}),
]
LEFT_ALONE = [
    (open_clip.CLIP, {"no_causal_mask": True}),
    (open_clip.CLIP, {"pool_type": "last"}),
    (open_clip.CustomTextCLIP, {"embed_cls": True}),
    (open_clip.CustomTextCLIP, {}),
]


@pytest.mark.parametrize(("kind", "settings"), CAUSAL, ids=str)
def test_features_and_gradients_are_those_of_the_padded_texts(kind, settings):
    results = []
    for cut in (True, False):
        encoder = encoder_of(kind, **settings)
        tokens = encoder.tokenize(TEXTS)
        given = encoder.needed_tokens(tokens) if cut else tokens
        assert given.shape == (4, 16 if cut else 40)
        features = encoder.encode_text(given)
        features.square().sum().sin().backward()
        named = dict(encoder.named_parameters())
        results.append((features.detach(), {name: p.grad for name, p in named.items() if p.grad is not None}))
    (found, gradients), (expected, expected_gradients) = results
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert gradients.keys() == expected_gradients.keys() and len(gradients) > 20
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("kind", "settings"), LEFT_ALONE, ids=str)
def test_towers_that_see_the_padding_or_want_it_keep_it(kind, settings):
    encoder = encoder_of(kind, **settings)
    tokens = encoder.tokenize(TEXTS)
    assert encoder.needed_tokens(tokens) is tokens
    assert torch.equal(encoder.encode_text(tokens), encoder.clip.encode_text(tokens))


def test_texts_that_fill_the_context_are_encoded_whole():
    encoder = load_encoder("tiny")
    tokens = encoder.tokenize(["a photo of the number three " * 10, "the digit two"])
    assert torch.equal(encoder.needed_tokens(tokens), tokens)
    short = encoder.tokenize(["the digit two"])
    assert encoder.needed_tokens(short).shape == (1, 8)
    with torch.no_grad():
        torch.testing.assert_close(encoder.encode_text(short[:, :8]), encoder.encode_text(short))


@pytest.mark.parametrize("family", ["hf", "clip", "openclip"])
def test_every_family_gives_the_same_features_for_what_it_says_is_needed(family, specimen):
    encoder = load_encoder(specimen(family))
    tokens = encoder.tokenize(TEXTS)
    with torch.no_grad():
        found, expected = encoder.encode_text(encoder.needed_tokens(tokens)), encoder.encode_text(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
