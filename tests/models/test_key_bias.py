import open_clip
import pytest
import torch
from torch import nn

from vlm_models import load_encoder
from vlm_models.key_bias import silence_key_biases

RESNET = open_clip.CLIPVisionCfg(layers=(1, 1, 1, 1), width=8, image_size=32, patch_size=None)
TEXT = open_clip.CLIPTextCfg(context_length=8, vocab_size=50, width=16, heads=2, layers=1)


def attention_of(kind):
    """A module with attention, and the part of it that is the bias of the keys."""
    torch.manual_seed(0)
    if kind == "multi-head":
        attention = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
        nn.init.normal_(attention.in_proj_bias)
        x = torch.randn(3, 5, 8, dtype=torch.float64)
        mask = torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1)
        return attention, attention.in_proj_bias, slice(8, 16), lambda: attention(x, x, x, attn_mask=mask)[0]
    visual = open_clip.CLIP(12, RESNET, TEXT).visual.double().eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    return visual, visual.attnpool.k_proj.bias, slice(None), lambda: visual(x)


@pytest.mark.parametrize("kind", ["multi-head", "pooling"])
def test_the_bias_of_keys_has_no_effect(kind):
    _, bias, keys, run = attention_of(kind)
    before = run()
    with torch.no_grad():
        bias[keys] += torch.randn_like(bias[keys])
    torch.testing.assert_close(run(), before, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["multi-head", "pooling"])
def test_its_gradient_is_zero_and_every_other_gradient_is_unchanged(kind):
    module, bias, keys, run = attention_of(kind)
    run().square().sum().backward()
    expected = {name: p.grad.clone() for name, p in module.named_parameters()}
    noise = bias.grad[keys].clone()
    assert noise.abs().max() < 1e-9
    module.zero_grad()
    silence_key_biases(module)
    run().square().sum().backward()
    assert bias.grad[keys].eq(0).all()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=0, atol=1e-9)


def test_it_holds_after_freezing_and_releasing():
    module, bias, keys, run = attention_of("multi-head")
    silence_key_biases(module)
    module.requires_grad_(False)
    module.requires_grad_(True)
    run().square().sum().backward()
    assert bias.grad[keys].eq(0).all() and bias.grad.any()


def test_attention_without_bias_or_training_is_left_alone():
    silence_key_biases(nn.MultiheadAttention(8, 2, bias=False))
    silence_key_biases(nn.MultiheadAttention(8, 2).requires_grad_(False))
    silence_key_biases(nn.Linear(2, 2))


def test_models_come_with_it():
    model = load_encoder("tiny")
    model.encode_image(torch.randn(4, 3, 32, 32)).square().sum().backward()
    gradient = model.clip.visual.transformer.resblocks[0].attn.in_proj_bias.grad
    width = len(gradient) // 3
    assert gradient[width : 2 * width].eq(0).all()
    assert gradient[:width].any() and gradient[2 * width :].any()
