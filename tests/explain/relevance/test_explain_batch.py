"""Maps of a batch do not depend on the batch, and the model stays as it was found."""

import copy

import open_clip
import pytest
import torch
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_explain.relevance import RelevanceOptions, explain_batch, relevance_maps
from vlm_models import load_encoder
from vlm_models.capabilities import CapabilityError
from vlm_models.openclip.encoder import OpenClipEncoder
from vlm_models.zero_shot import zero_shot_classifier

NAMES = ["zero", "one", "two", "three"]


def images(count: int = 5, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model():
    return zero_shot_classifier(load_encoder("tiny"), NAMES, ["the digit {c}"])


LABELS = torch.tensor([3, 0, 2, 2, 1])


@pytest.mark.parametrize("layers", ["last", "2", "all"])
@pytest.mark.parametrize("target", ["label", "prediction", "contrast", "class:two"])
@pytest.mark.parametrize("scalar", ["logit", "cosine", "probability"])
def test_an_image_is_explained_alike_alone_and_in_any_company(model, layers, target, scalar):
    options = RelevanceOptions(layers=layers, target=target, scalar=scalar)
    together = explain_batch(model, images(), LABELS, options)
    assert together.raw.shape == (5, 4, 4) and not together.flat.any()
    order = torch.tensor([4, 1, 0, 3, 2, 1])
    other = explain_batch(model, images()[order], LABELS[order], options)
    parts = {"order": (other, together, order)}
    for one in range(5):
        alone = explain_batch(model, images()[one : one + 1], LABELS[one : one + 1], options)
        parts[f"alone {one}"] = (alone, together, torch.tensor([one]))
    for found, expected, rows in parts.values():
        torch.testing.assert_close(found.raw, expected.raw[rows], atol=1e-5 * float(expected.raw.max()), rtol=1e-4)
        torch.testing.assert_close(found.maps, expected.maps[rows], atol=1e-4, rtol=0)
        torch.testing.assert_close(found.logits, expected.logits[rows], atol=1e-4, rtol=1e-5)


def test_logits_are_those_of_the_model(model):
    with torch.no_grad():
        expected = model(images())
    found = explain_batch(model, images(), LABELS, RelevanceOptions(layers="all"))
    torch.testing.assert_close(found.logits, expected, atol=1e-4, rtol=1e-5)
    assert (found.predicted == expected.argmax(1)).all()


def test_scale_cancels_in_one_layer_and_not_in_several(model):
    other = copy.deepcopy(model)
    other.head.weight.data /= 50
    one, several = RelevanceOptions(layers="last"), RelevanceOptions(layers="all")
    maps = [explain_batch(each, images(), LABELS, one).maps for each in (model, other)]
    torch.testing.assert_close(*maps, atol=1e-4, rtol=0)
    maps = [explain_batch(each, images(), LABELS, several).maps for each in (model, other)]
    assert (maps[0] - maps[1]).abs().max() > 1e-3
    cosine = RelevanceOptions(layers="all", scalar="cosine")
    maps = [explain_batch(each, images(), LABELS, cosine).maps for each in (model, other)]
    torch.testing.assert_close(*maps, atol=1e-4, rtol=0)


def state_of(model):
    """Everything about a model that a caller can see."""
    return {
        "training": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [
            [len(found) for name, found in vars(module).items() if name.endswith("_hooks")]
            for module in model.modules()
        ],
        "trained": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "weights": [parameter.detach().clone() for parameter in model.parameters()],
        "fused": (functional.scaled_dot_product_attention, torch.backends.mha.get_fastpath_enabled()),
    }  # fmt: skip


def assert_same(found, expected):
    for key in expected:
        if key in ("gradients", "weights"):
            for one, other in zip(found[key], expected[key], strict=True):
                assert (one is None and other is None) or torch.equal(one, other)
        else:
            assert found[key] == expected[key], key


class Refusal(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        raise RuntimeError("on the way back")


class FailsOnTheWayBack(torch.nn.Module):
    def forward(self, x):
        return Refusal.apply(x)


@pytest.fixture
def used(model):
    """A model in the middle of something: partly frozen, partly in training mode, with gradients."""
    model.train()
    model.encoder.clip.visual.transformer.resblocks[1].eval()
    model.encoder.clip.visual.conv1.requires_grad_(False)
    model(images(2)).sum().backward()
    return model


@pytest.mark.parametrize("what", ["classifier", "dual encoder"])
def test_the_model_is_left_as_it_was_found(used, what):
    before = state_of(used)
    for layers in ("last", "all"):
        if what == "classifier":
            explain_batch(used, images(), LABELS, RelevanceOptions(layers=layers))
        else:
            explain_batch(used.encoder, images(2), NAMES[:2], RelevanceOptions(layers=layers))
    assert_same(state_of(used), before)


def test_the_model_is_left_as_it_was_found_after_an_error(used):
    before = state_of(used)
    with pytest.raises(RuntimeError):
        explain_batch(used, torch.zeros(1, 3, 32, 31), LABELS[:1], RelevanceOptions())  # fails inside the tower

    used.encoder.clip.visual.transformer.resblocks[2].mlp.append(FailsOnTheWayBack())
    before = state_of(used)
    with pytest.raises(RuntimeError, match="on the way back"):
        explain_batch(used, images(), LABELS, RelevanceOptions(layers="all"))
    assert_same(state_of(used), before)


def test_dropout_has_no_part_in_a_map(used):
    used.encoder.clip.visual.transformer.resblocks[2].mlp.append(torch.nn.Dropout(0.5))
    used.train()
    first, second = (explain_batch(used, images(), LABELS, RelevanceOptions(layers="all")).maps for _ in range(2))
    torch.testing.assert_close(first, second, atol=0, rtol=0)


@pytest.mark.parametrize("way", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_gradients_turned_off_by_the_caller_do_not_matter(model, way, kind):
    expected = explain_batch(model, images(), LABELS, RelevanceOptions(layers="all"))
    with way():
        batch = images() if kind == "uint8" else model.encoder.preprocess.normalise(images())
        found = explain_batch(model, batch, LABELS.clone(), RelevanceOptions(layers="all"))
        assert torch.is_grad_enabled() is False
        torch.testing.assert_close(found.maps, expected.maps)
    assert not found.maps.is_inference() and not found.maps.requires_grad


def test_a_model_built_in_inference_mode_is_refused(model):
    with torch.inference_mode():
        built = zero_shot_classifier(model.encoder, NAMES, ["the digit {c}"])
        with pytest.raises(CallError, match=r"built inside torch.inference_mode.*Expected a model built outside"):
            explain_batch(built, images(), LABELS, RelevanceOptions())
        assert explain_batch(model.encoder, images(1), ["two"], RelevanceOptions()).maps.any()


def test_a_dual_encoder_is_explained_for_its_texts(model):
    texts = ["the digit two", "the digit one", "the digit two"]
    found = explain_batch(model.encoder, images(3), texts, RelevanceOptions(layers="all"))
    by_hand = zero_shot_classifier(model.encoder, ["two", "one"], ["the digit {c}"])
    expected = explain_batch(by_hand, images(3), torch.tensor([0, 1, 0]), RelevanceOptions(layers="all"))
    torch.testing.assert_close(found.maps, expected.maps)
    torch.testing.assert_close(found.logits, expected.logits)
    maps = relevance_maps(model.encoder, images(3), texts, layers="all", size=(7, 9))
    assert maps.shape == (3, 7, 9)


def test_texts_are_encoded_once_per_call(model, monkeypatch):
    rows = []
    encode = model.encoder.encode_text
    monkeypatch.setattr(model.encoder, "encode_text", lambda tokens: rows.append(len(tokens)) or encode(tokens))
    explain_batch(model.encoder, images(4), ["a", "b", "a", "a"], RelevanceOptions())
    assert rows == [2]
    explain_batch(model, images(4), LABELS[:4], RelevanceOptions())
    assert rows == [2]


def test_nothing_is_kept_of_the_layers_below(model):
    saved = []

    def pack(tensor):
        saved.append(tensor.numel())
        return tensor

    for layers in ("last", "all"):
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            explain_batch(model, images(), LABELS, RelevanceOptions(layers=layers))
        if layers == "last":
            of_last = sum(saved)
            saved.clear()
    assert of_last < 0.45 * sum(saved)  # of four layers


def test_a_map_without_any_evidence_is_flagged(model):
    model.head.weight.data[1] = 0
    found = explain_batch(model, images(2), torch.tensor([1, 0]), RelevanceOptions(layers="all"))
    assert found.flat.tolist() == [True, False]
    assert not found.maps[0].any() and found.maps[1].any()


def test_half_precision(model):
    exact = explain_batch(model, images(), LABELS, RelevanceOptions(layers="all"))
    half = zero_shot_classifier(load_encoder("tiny", precision="bf16"), NAMES, ["the digit {c}"])
    found = explain_batch(half, images(), LABELS, RelevanceOptions(layers="all"))
    assert found.raw.dtype == found.maps.dtype == found.logits.dtype == torch.float32
    assert (found.maps - exact.maps).abs().mean() < 0.05
    assert len(found.raw[0].unique()) == found.raw[0].numel()  # as fine as in single precision
    one = explain_batch(half, images()[3:4], LABELS[3:4], RelevanceOptions(layers="all"))
    torch.testing.assert_close(one.maps, found.maps[3:4], atol=0.02, rtol=0)


def other_tower(visual) -> OpenClipEncoder:
    text = open_clip.CLIPTextCfg(context_length=8, vocab_size=50, width=16, heads=2, layers=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = open_clip.CustomTextCLIP(16, visual, text).eval()
    size = 224 if visual.timm_model_name else visual.image_size
    return OpenClipEncoder(
        clip, lambda texts: torch.zeros(len(texts), 8, dtype=torch.long), spec="random", architecture={},
        preprocess=Preprocess(size), embedding_dim=16,
    )  # fmt: skip


def timm_tower(name: str, pool: str) -> OpenClipEncoder:
    return other_tower(
        open_clip.CLIPVisionCfg(timm_model_name=name, timm_pool=pool, timm_proj="linear", image_size=224)
    )


def test_registers_are_no_patches():
    encoder = timm_tower("vit_small_patch16_dinov3", "token")
    for size, side in ((224, 14), (256, 16)):  # this tower takes both
        assert encoder.vision_tokens(images(1, size)).prefix_tokens == 5
        found = explain_batch(encoder, images(1, size), ["a"], RelevanceOptions(layers="all"))
        assert found.raw.shape == (1, side, side)


class ClassTokenSees(torch.nn.Module):
    """Attention of a tower in which the class token looks at one patch alone, and every other token at itself."""

    def __init__(self, attention: torch.nn.MultiheadAttention, patch: int) -> None:
        super().__init__()
        self.attention, self.patch = attention, patch

    def forward(self, x, *_, **__):
        value = functional.linear(x, self.attention.in_proj_weight, self.attention.in_proj_bias).chunk(3, dim=-1)[2]
        value = value.unflatten(-1, (self.attention.num_heads, -1)).transpose(1, 2)
        mask = torch.eye(x.shape[1], dtype=torch.bool)
        mask[0, 0], mask[0, 1 + self.patch] = False, True
        mixed = functional.scaled_dot_product_attention(value, value, value, attn_mask=mask)
        return self.attention.out_proj(mixed.transpose(1, 2).flatten(2)), None


@pytest.mark.parametrize("patch", [0, 6, 15])
@pytest.mark.parametrize("layers", ["last", "all"])
def test_relevance_lies_where_the_class_token_looks(model, patch, layers):
    for block in model.encoder.clip.visual.transformer.resblocks:
        block.attn = ClassTokenSees(block.attn, patch).eval()
    found = explain_batch(model, images(), LABELS, RelevanceOptions(layers=layers, target="contrast"))
    seen = found.raw.flatten(1).nonzero()
    assert len(seen) and set(seen[:, 1].tolist()) == {patch}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: timm_tower("vit_tiny_patch16_224", "avg"), "random does not read .* class token alone"),
        (
            lambda: other_tower(open_clip.CLIPVisionCfg(image_size=64, layers=(1, 1, 1, 1), width=8, head_width=8)),
            "random cannot do vision attention",
        ),
        (
            lambda: other_tower(
                open_clip.CLIPVisionCfg(
                    image_size=64, patch_size=16, layers=2, width=64, attentional_pool=True, attn_pooler_queries=4
                )
            ),
            "random does not read .* class token alone",
        ),
    ],
)
def test_towers_without_a_class_token_are_refused(build, message):
    encoder = build()
    with pytest.raises(CapabilityError, match=message):
        explain_batch(encoder, images(1, encoder.preprocess.size), ["a"], RelevanceOptions())


def test_siglip_has_no_class_token(specimen):
    encoder = load_encoder(specimen("hf"))
    with pytest.raises(CapabilityError, match=r"has no class token.*choose a method .*: pooling-attention or grad-cam"):
        explain_batch(encoder, images(1, encoder.preprocess.size), ["a"], RelevanceOptions())


@pytest.mark.parametrize(
    ("shape", "targets", "message"),
    [
        ((3, 32, 32), [0], r"images of shape \(3, 32, 32\); expected \(n, 3, height, width\)"),
        ((0, 3, 32, 32), [], "with at least one"),
        ((2, 1, 32, 32), [0, 0], r"images of shape \(2, 1, 32, 32\)"),
        ((2, 3, 32, 32), [0], r"targets of shape \(1,\) for 2 images; expected one for each"),
        ((2, 3, 32, 32), [0, 4], "class indices lie between 0 and 4, but the model has 4 classes"),
    ],
)
def test_a_wrong_call_is_refused(model, shape, targets, message):
    with pytest.raises(CallError, match=message):
        relevance_maps(model, torch.zeros(shape), torch.tensor(targets, dtype=torch.int64))


def test_maps_without_a_pixel_are_refused(model):
    with pytest.raises(CallError, match=r"maps of size \(0, 5\); expected height and width in pixels, 1 or more"):
        relevance_maps(model, images(1), torch.tensor([0]), size=(0, 5))


def test_targets_of_the_wrong_kind_are_refused(model):
    with pytest.raises(CallError, match="expected a tensor of class indices, not texts"):
        relevance_maps(model, images(1), ["zero"])
    for wrong in ("zero", None, torch.tensor([0]), [0]):
        with pytest.raises(CallError, match="expected one text for every image, as a list"):
            relevance_maps(model.encoder, images(1), wrong)
    with pytest.raises(CallError, match=r"targets of shape \(2,\) for 1 images"):
        relevance_maps(model.encoder, images(1), ["zero", "one"])
