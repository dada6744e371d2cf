"""Recorded attention is what the model computes, has gradients, and leaves nothing behind."""

import open_clip
import pytest
import torch
from open_clip.timm_model import TimmModel
from torch import nn
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_models import load_encoder
from vlm_models.attention import record_attention, record_modules
from vlm_models.capabilities import CapabilityError
from vlm_models.errors import VlmModelsError
from vlm_models.interface import DualEncoder
from vlm_models.openclip.encoder import OpenClipEncoder


def images(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def wrapped(clip: nn.Module, size: int) -> OpenClipEncoder:
    return OpenClipEncoder(
        clip, lambda texts: torch.zeros(len(texts), 8, dtype=torch.long), spec="random", architecture={},
        preprocess=Preprocess(size), embedding_dim=16,
    )  # fmt: skip


def timm_encoder(name: str, pool: str) -> OpenClipEncoder:
    """A vision transformer of timm with a text tower of open_clip, as in open_clip's SigLIP."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = open_clip.CustomTextCLIP(
            16,
            open_clip.CLIPVisionCfg(timm_model_name=name, timm_pool=pool, timm_proj="linear", image_size=224),
            open_clip.CLIPTextCfg(context_length=8, vocab_size=50, width=16, heads=2, layers=1),
        )  # fmt: skip
    assert isinstance(clip.visual, TimmModel)
    return wrapped(clip.eval(), 224)


def by_hand(module: nn.MultiheadAttention, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    query, key, _ = functional.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, dim=-1)
    query, key = (part.unflatten(-1, (module.num_heads, -1)).transpose(1, 2) for part in (query, key))
    scores = query @ key.transpose(-1, -2) / module.head_dim**0.5
    return (scores if mask is None else scores + mask).softmax(-1)


def test_probabilities_are_those_of_the_formula():
    tiny = load_encoder("tiny")
    inputs = []
    handle = tiny.clip.visual.transformer.resblocks[1].ln_1.register_forward_hook(lambda *all: inputs.append(all[2]))
    with record_attention(tiny, "vision", [1]) as attention, torch.no_grad():
        tiny.encode_image(images())
    handle.remove()
    expected = by_hand(tiny.clip.visual.transformer.resblocks[1].attn, inputs[0])
    torch.testing.assert_close(attention.probabilities[0], expected, atol=1e-6, rtol=1e-5)


def test_text_attention_is_causal():
    tiny = load_encoder("tiny")
    with record_attention(tiny, "text") as attention:
        tiny.encode_text(tiny.tokenize(["the digit two", "a photo"]))
    assert len(attention.probabilities) == 2
    for probabilities in attention.probabilities:
        assert probabilities.triu(1).abs().max() == 0
        torch.testing.assert_close(probabilities.sum(-1), torch.ones_like(probabilities[..., 0]))


ENCODERS = {
    "tiny": lambda: load_encoder("tiny"),
    "timm, class token": lambda: timm_encoder("vit_tiny_patch16_224", "token"),
    "timm, pooling head": lambda: timm_encoder("vit_base_patch16_siglip_224", "map"),
}


@pytest.mark.parametrize("name", ["tiny", "timm, class token"])
@pytest.mark.parametrize("frozen", [True, False])
def test_outputs_stay_and_gradients_flow(name: str, frozen: bool):
    model = ENCODERS[name]()
    model.requires_grad_(not frozen)
    batch = images(2, model.preprocess.size)
    plain = model.encode_image(batch)
    with record_attention(model, "vision") as attention:
        recorded = model.encode_image(batch)
    torch.testing.assert_close(recorded, plain, atol=1e-6, rtol=1e-5)
    gradients = attention.gradients(recorded[:, 0].sum())
    assert [tuple(found.shape) for found in gradients] == [tuple(p.shape) for p in attention.probabilities]
    assert all(found.abs().max() > 0 for found in gradients)


def test_gradient_is_the_change_of_the_score():
    model = load_encoder("tiny").double().requires_grad_(False)
    batch = model.preprocess.normalise(images(1)).double()
    with record_attention(model, "vision", [-1]) as attention:
        score = model.encode_image(batch)[0, 3]
    gradient = attention.gradients(score)[0]
    direction = torch.randn(gradient.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def shifted(step: float) -> torch.Tensor:
        with record_attention(model, "vision", [-1]) as again, torch.no_grad():
            put = again.put
            again.put = lambda layer, p: put(layer, p + step * direction)  # type: ignore[method-assign]
            return model.encode_image(batch)[0, 3]

    change = (shifted(1e-5) - shifted(-1e-5)) / 2e-5
    torch.testing.assert_close((gradient * direction).sum(), change, rtol=1e-6, atol=1e-9)


def test_frozen_model_keeps_no_graph_below_the_first_recorded_layer():
    model = load_encoder("tiny").requires_grad_(False)
    with record_attention(model, "vision", [2, 3]) as attention:
        score = model.encode_image(images(1)).sum()
    first, second = attention.probabilities
    assert first.is_leaf
    assert not second.is_leaf
    assert all(found.abs().max() > 0 for found in attention.gradients(score))


def test_pooling_head_of_timm():
    model = timm_encoder("vit_base_patch16_siglip_224", "map")
    batch = images(1, 224)
    with record_attention(model, "pooling") as attention:
        recorded = model.encode_image(batch)
    torch.testing.assert_close(recorded, model.encode_image(batch), atol=1e-6, rtol=1e-4)
    assert attention.probabilities[0].shape == (1, 12, 1, 196)
    assert attention.gradients(recorded.sum())[0].abs().max() > 0


def test_everything_is_restored_after_an_exception():
    model = load_encoder("tiny")
    fused, state = functional.scaled_dot_product_attention, set(model.__dict__)
    with pytest.raises(RuntimeError, match="halfway"), record_attention(model, "vision"):
        assert "forward" in model.clip.visual.transformer.resblocks[0].attn.__dict__
        model.encode_image(images())
        raise RuntimeError("halfway")
    with pytest.raises(RuntimeError), record_attention(model, "vision"):
        model.encode_image(torch.zeros(1, 3, 32, 31))  # fails inside the tower
    assert functional.scaled_dot_product_attention is fused
    assert torch.backends.mha.get_fastpath_enabled()
    assert set(model.__dict__) == state
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_models_do_not_disturb_each_other():
    one, other = load_encoder("tiny"), load_encoder("tiny")
    with record_attention(one, "vision", [-1]) as first, record_attention(other, "vision", [-1]) as second:
        one.encode_image(images(1))
        other.encode_image(images(2))
    assert [len(record.probabilities[0]) for record in (first, second)] == [1, 2]


class Rewritten(nn.Module):
    """The attention of a tiny model in other words: `way` is how it computes, `drops` where it calls its dropout."""

    def __init__(self, attention: nn.MultiheadAttention, way: str, drops: str) -> None:
        super().__init__()
        self.inner, self.way, self.drops = attention, way, drops
        self.dropout = nn.Dropout(0.1)

    def drop(self, where: str, values: torch.Tensor) -> torch.Tensor:
        return self.dropout(values) if where in self.drops else values

    def forward(self, x: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, None]:
        parts = functional.linear(x, self.inner.in_proj_weight, self.inner.in_proj_bias).chunk(3, dim=-1)
        heads = [self.drop("inputs", part.unflatten(-1, (self.inner.num_heads, -1)).transpose(1, 2)) for part in parts]
        if self.way == "fused":
            mixed = functional.scaled_dot_product_attention(*heads)
        else:
            scores = heads[0] @ heads[1].transpose(-1, -2) / self.inner.head_dim**0.5
            mixed = self.drop("probabilities", scores.softmax(-1)) @ heads[2]
        return self.drop("outputs", self.inner.out_proj(mixed.transpose(1, 2).flatten(2))), None


@pytest.mark.parametrize(
    ("way", "drops"),
    [
        ("fused", ""),  # as BERT of Chinese-CLIP: it owns a dropout that it never calls
        ("fused", "outputs"),
        ("fused", "inputs outputs"),
        ("explicit", "probabilities"),  # as BERT of BLIP
        ("explicit", "probabilities outputs"),
    ],
)
def test_owning_a_dropout_tells_nothing_about_attention(way: str, drops: str):
    tiny, batch = load_encoder("tiny"), images()
    with record_attention(tiny, "vision") as expected:
        score = tiny.encode_image(batch)[:, 0].sum()
    expected_gradients = expected.gradients(score)
    for block in tiny.clip.visual.transformer.resblocks:
        block.attn = Rewritten(block.attn, way, drops).eval()
    with record_attention(tiny, "vision") as found:
        score = tiny.encode_image(batch)[:, 0].sum()
    torch.testing.assert_close(found.probabilities, expected.probabilities, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.gradients(score), expected_gradients, atol=1e-6, rtol=1e-4)


def test_attention_that_cannot_be_heard_is_an_error():
    tiny = load_encoder("tiny")
    block = tiny.clip.visual.transformer.resblocks[2]
    for drops in ("", "outputs"):
        block.attn = Rewritten(load_encoder("tiny").clip.visual.transformer.resblocks[2].attn, "explicit", drops).eval()
        with (
            pytest.raises(VlmModelsError, match=r"layer 2, a Rewritten, computed no .* attn_implementation='sdpa'"),
            record_attention(tiny, "vision"),
        ):
            tiny.encode_image(images())
        assert "forward" not in block.attn.__dict__ and not block.attn.dropout._forward_pre_hooks


def test_half_precision_is_recorded_in_single():
    model = load_encoder("tiny", precision="bf16")
    with record_attention(model, "vision", [-1]) as attention:
        score = model.encode_image(images())
    assert score.dtype == torch.bfloat16
    assert attention.probabilities[0].dtype == torch.float32
    assert attention.gradients(score.sum())[0].isfinite().all()


class Masked(nn.Module):
    """Fused attention of tokens to themselves under a mask."""

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.scaled_dot_product_attention(x, x, x, attn_mask=self.mask)


@pytest.mark.parametrize("additive", [False, True])
def test_a_query_that_sees_nothing_is_zero_as_in_fused_attention(additive: bool):
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    mask[:, 0] = False  # padding on the left: the first place sees no key
    module = Masked(torch.zeros(4, 4).masked_fill(~mask, -torch.inf) if additive else mask)
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(3))
    plain = module(x)
    with record_modules([module]) as attention:
        found = module(x)
    torch.testing.assert_close(found, plain)
    assert attention.probabilities[0][..., 0, :].eq(0).all()
    gradient = attention.gradients(found.square().sum())[0]
    assert gradient.isfinite().all() and gradient.abs().max() > 0
    assert "forward" not in module.__dict__


def resnet() -> OpenClipEncoder:
    clip = open_clip.CLIP(
        16,
        open_clip.CLIPVisionCfg(image_size=64, layers=(1, 1, 1, 1), width=8, head_width=8),
        open_clip.CLIPTextCfg(context_length=8, vocab_size=50, width=16, heads=2, layers=1),
    )
    return wrapped(clip.eval(), 64)


def test_what_cannot_be_recorded_is_said():
    tiny = load_encoder("tiny")
    with pytest.raises(CapabilityError, match=r"random cannot do vision attention .*It can do: adapters, feature map"):
        record_attention(resnet(), "vision").__enter__()
    with pytest.raises(CapabilityError, match="cannot do cross attention"):
        record_attention(tiny, "cross").__enter__()
    with pytest.raises(CallError, match="no attention layer 4; expected a number from -4 to 3"):
        record_attention(tiny, "vision", [4]).__enter__()
    with record_attention(tiny, "vision") as attention, pytest.raises(CallError, match="not called while recording"):
        _ = attention.probabilities
    with torch.inference_mode(), record_attention(tiny, "vision") as attention:
        score = tiny.encode_image(images()).sum()
    with pytest.raises(CallError, match="ran without gradients"):
        attention.gradients(score)


@pytest.mark.parametrize("build", [lambda: load_encoder("tiny"), ENCODERS["timm, class token"], resnet])
def test_tokens_lead_to_the_features(build):
    model: DualEncoder = build()
    batch = images(2, model.preprocess.size)
    with torch.no_grad():
        output = model.vision_tokens(batch)
        features = model.encode_image(batch)
    rows, columns = output.grid
    assert output.tokens.shape[1] == output.prefix_tokens + rows * columns
    assert output.patches.shape[1:3] == (rows, columns)
    if output.pooled.shape == features.shape and not output.prefix_tokens:  # attention pooling ends in the projection
        torch.testing.assert_close(output.pooled, features)
    else:
        torch.testing.assert_close(output.pooled @ model.projections()[0], features, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(output.pooled, output.tokens[:, 0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("build", [lambda: load_encoder("tiny"), ENCODERS["timm, class token"], resnet])
def test_parameter_groups_are_disjoint_and_complete(build):
    model: DualEncoder = build()
    groups = model.parameter_groups()
    found = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(found) == sorted(id(parameter) for parameter in model.parameters())
    tower = {id(parameter) for parameter in model.image_tower().parameters()}
    assert {id(p) for group in ("vision", "vision projection") for p in groups[group]} == tower


def test_images_together_are_not_projected_token_by_token():
    """Frozen weights and images beside tokens in memory made one product of matrices per token of a projection."""
    tiny = load_encoder("tiny").requires_grad_(False)
    with torch.profiler.profile(record_shapes=True) as profiled, record_attention(tiny, "vision") as attention:
        score = tiny.encode_image(images(3)).sum()
        attention.gradients(score)
    heads = 3 * 4  # images and heads: of attention itself
    batched = {tuple(event.input_shapes[0]) for event in profiled.events() or () if event.name == "aten::bmm"}
    assert batched and all(shape[0] == heads for shape in batched)
