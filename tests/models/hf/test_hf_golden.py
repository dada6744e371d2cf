"""`golden/relevance/clip_*` through transformers: features, logits, recorded attention and relevance."""

import string
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessor, CLIPTokenizer

from vlm_models import load_encoder
from vlm_models.attention import record_attention
from vlm_models.export.renaming import to_transformers

GOLDEN = Path(__file__).parents[2] / "golden" / "relevance"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = {"clip_p16_w128": (128, 2, 16), "clip_p8_w64": (64, 4, 8)}
"""Width, layers and patch of the image towers."""


@pytest.fixture(params=SIZES)
def case(request, tmp_path):
    """A golden model in a folder of Hugging Face, its arrays, and its images."""
    width, layers, patch = SIZES[request.param]
    tokens = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    tokens += [f"unused{number}" for number in range(98 - len(tokens))]
    vocabulary = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(tmp_path)
    square = {"height": 112, "width": 112}
    CLIPImageProcessor(size=square, do_center_crop=False, image_mean=MEAN, image_std=STD).save_pretrained(tmp_path)
    text = {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 256}
    vision = {"hidden_size": width, "num_attention_heads": width // 64, "num_hidden_layers": layers}
    CLIPConfig(  # 2 as the end token: the text is read at its largest id, as the golden text features are
        text_config={**text, "vocab_size": 100, "max_position_embeddings": 12, "eos_token_id": 2, "bos_token_id": 98},
        vision_config={**vision, "intermediate_size": 4 * width, "image_size": 112, "patch_size": patch},
        projection_dim=32,
    ).save_pretrained(tmp_path)
    state = to_transformers(load_file(GOLDEN / f"{request.param}_weights.safetensors"))
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    arrays = {name: torch.from_numpy(values) for name, values in np.load(GOLDEN / f"{request.param}.npz").items()}
    images = arrays["images_u8"]
    images = images.repeat_interleave(112 // images.shape[-1], dim=2).repeat_interleave(112 // images.shape[-1], dim=3)
    return load_encoder(f"hf:{tmp_path}"), arrays, images


def assert_agree(found, expected, share):
    """Agree to a share of the largest value, which is how the golden tolerances are given."""
    torch.testing.assert_close(found, expected, atol=share * float(expected.abs().max()), rtol=0)


def logits_of(encoder, images, tokens):
    image = functional.normalize(encoder.encode_image(images), dim=-1)
    return encoder.logit_scale * image @ functional.normalize(encoder.encode_text(tokens), dim=-1).T


def relevance(probabilities, gradients, first):
    """R = (I + C_L) ... (I + C_first), its row of the class token without itself."""
    product = torch.eye(probabilities[0].shape[-1]).expand(len(probabilities[0]), -1, -1)
    for a, g in zip(probabilities[first:], gradients[first:], strict=True):
        product = product + (a * g).clamp_min(0).mean(dim=1) @ product
    return product[:, 0, 1:].detach()


@torch.no_grad()
def test_features_and_logits(case):
    encoder, golden, images = case
    tokens = golden["class_tokens"]
    assert_agree(encoder.encode_image(images), golden["image_features"], 2e-6)
    assert_agree(encoder.encode_text(tokens), golden["text_features"], 2e-6)
    assert_agree(logits_of(encoder, images, tokens), golden["logits_per_image"], 2e-6)
    for row in range(len(images)):
        assert_agree(encoder.encode_image(images[row : row + 1])[0], golden["image_features"][row], 2e-6)


def test_recorded_attention_and_relevance(case):
    encoder, golden, images = case
    rows, labels = torch.arange(len(images)), golden["labels"].long()
    for chosen in (slice(None), slice(0, 1)):
        with record_attention(encoder, "vision") as attention:
            logits = logits_of(encoder, images[chosen], golden["class_tokens"])
        score = logits[rows[: len(logits)], labels[chosen]].sum()
        probabilities, gradients = attention.probabilities, attention.gradients(score)
        for name, first in (("zs_relevance_last", -1), ("zs_relevance_all", 0)):
            assert_agree(relevance(probabilities, gradients, first), golden[name][chosen], 1e-5)
        found = torch.stack([layer[0, :, 0] for layer in probabilities]).detach()
        assert_agree(found, golden["attn_img0_row0_all_layers"], 2e-6)
        assert_agree(gradients[-1][0, :, 0], golden["attn_grad_img0_last_row0"], 1e-5)
        assert_agree(gradients[0][0, :, 0], golden["attn_grad_img0_first_layer_row0"], 1e-5)


def test_relevance_of_a_linear_head(case):
    encoder, golden, images = case
    with record_attention(encoder, "vision") as attention:
        logits = functional.linear(encoder.encode_image(images), golden["lp_weight"], golden["lp_bias"])
    assert_agree(logits.detach(), golden["lp_logits"], 2e-6)
    score = logits[torch.arange(len(images)), golden["lp_labels"].long()].sum()
    found = relevance(attention.probabilities, attention.gradients(score), 0)
    assert_agree(found, golden["lp_relevance_all"], 1e-5)
