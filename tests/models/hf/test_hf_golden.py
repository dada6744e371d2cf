"""`golden/relevance/clip_*` through transformers: features, logits, recorded attention and relevance."""

import pytest
import torch
from torch.nn import functional

from specimens.golden import CLIPS, golden_arrays, golden_images, golden_transformers
from vlm_models.attention import record_attention


@pytest.fixture(params=CLIPS)
def case(request, tmp_path):
    """A golden model in a folder of Hugging Face, its arrays, and its images."""
    arrays = golden_arrays(request.param)
    return golden_transformers(request.param, tmp_path), arrays, golden_images(arrays)


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
