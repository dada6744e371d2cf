import copy
import dataclasses
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_models import load_encoder
from vlm_models.attention import record_attention
from vlm_models.capabilities import CapabilityError
from vlm_models.interface import PARAMETER_GROUPS, MatchingModel
from vlm_models.weight_space import interpolate
from vlm_models.zero_shot import zero_shot_classifier

TEXTS = ("abc", "a b c d e f", "", "e")


@pytest.fixture(scope="module", params=["albef", "blip"])
def spec(request, fusion_folder):
    return fusion_folder(request.param)


@pytest.fixture(scope="module")
def model(spec):
    return load_encoder(spec)


@pytest.fixture
def own(spec):
    """A model that a test may change."""
    return load_encoder(spec)


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def contrastive_loss(model, images):
    tokens = model.tokenize(TEXTS)
    features = (functional.normalize(part, dim=-1) for part in (model.encode_image(images), model.encode_text(tokens)))
    image, text = features
    logits = image @ text.T * model.logit_scale
    labels = torch.arange(len(images))
    return functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)


class TestText:
    @torch.no_grad()
    def test_padding_changes_nothing(self, model, images):
        tokens = model.tokenize(TEXTS)
        used = int(tokens.ne(0).sum(dim=1).max())
        assert used < tokens.shape[1]
        vision = model.vision_tokens(images)
        expected = model.encode_text(tokens), model.match(vision, tokens)[0]
        found = model.encode_text(tokens[:, :used]), model.match(vision, tokens[:, :used])[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)

    @torch.no_grad()
    def test_trimming_is_only_a_matter_of_speed(self, model):
        tokens = model.tokenize(TEXTS)
        whole = model.text_proj(model.text_states(tokens)[:, 0])
        torch.testing.assert_close(model.encode_text(tokens), whole, rtol=0, atol=1e-6)
        seen = []
        handle = model.text_encoder.register_forward_pre_hook(
            lambda _, __, named: seen.append(named["input_ids"].shape), with_kwargs=True
        )
        model.encode_text(tokens), model.encode_text(tokens[2:3])
        handle.remove()
        assert [shape[1] for shape in seen] == [int(tokens.ne(0).sum(dim=1).max()), int(tokens[2].ne(0).sum())]

    @torch.no_grad()
    def test_one_text_is_a_row_of_many(self, model):
        tokens = model.tokenize(TEXTS)
        many = model.encode_text(tokens)
        for row in range(len(tokens)):
            torch.testing.assert_close(
                model.encode_text(tokens[row : row + 1]), many[row : row + 1], rtol=1e-6, atol=2e-6
            )

    def test_frame_of_a_text(self, model):
        first, last = model.tokenizer.id_of("[CLS]"), model.tokenizer.id_of("[SEP]")
        tokens = model.tokenize(["abc", "a b c d e f g h i j k l m n"])
        assert tokens.shape == (2, 12) and tokens[:, 0].eq(first).all()
        closed = model.sizes.fusion_layers == 0
        assert tokens.eq(last).any(dim=1).tolist() == [closed, closed]
        assert bool(tokens[1, -1] == last) is closed


class TestImages:
    @torch.no_grad()
    def test_one_image_is_a_row_of_many(self, model, images):
        many = model.encode_image(images)
        torch.testing.assert_close(model.encode_image(images[1:2]), many[1:2], rtol=0, atol=1e-6)

    @torch.no_grad()
    def test_tokens(self, model, images):
        vision = model.vision_tokens(images)
        assert vision.tokens.shape == (4, 17, 24) and vision.patches.shape == (4, 4, 4, 24)
        torch.testing.assert_close(vision.tokens, model.vision_tokens(model.preprocess.normalise(images)).tokens)
        torch.testing.assert_close(model.project_image(vision.pooled), model.encode_image(images))
        mean = vision.tokens.mean(dim=-1)
        bias, weight = model.vision_model.post_layernorm.bias, model.vision_model.post_layernorm.weight
        normed = (vision.tokens - bias) / weight
        assert mean.abs().max() > 1e-2 and normed.mean(dim=-1).abs().max() < 1e-5  # after the final norm, once

    def test_another_size_is_refused(self, model):
        with pytest.raises(CallError, match=r"images of 12 x 16 pixels do not fit .*; expected 16 x 16"):
            model.encode_image(torch.zeros(1, 3, 12, 16))


class TestMatching:
    @torch.no_grad()
    def test_image_and_text_both_matter(self, model, images):
        vision, tokens = model.vision_tokens(images), model.tokenize(TEXTS)
        logits, fused = model.match(vision, tokens)
        assert isinstance(model, MatchingModel)
        assert logits.shape == (4, 2) and fused.shape == (4, tokens.shape[1], 16)
        turned = dataclasses.replace(vision, tokens=vision.tokens.roll(1, 0))
        assert not torch.allclose(model.match(turned, tokens)[0], logits, atol=1e-3)
        assert not torch.allclose(model.match(vision, tokens.roll(1, 0))[0], logits, atol=1e-3)

    @torch.no_grad()
    def test_words_see_later_words(self, model, images):
        """A causal mask would be wrong: it is what transformers makes of a BERT with cross-attention."""
        tokens = model.tokenize(["a b c", "a b d"])
        assert tokens[0, :3].tolist() == tokens[1, :3].tolist()
        vision = model.vision_tokens(images[:1].expand(2, -1, -1, -1))
        _, fused = model.match(vision, tokens)
        assert not torch.allclose(fused[0, 1], fused[1, 1], atol=1e-3)

    def test_as_many_images_as_texts(self, model, images):
        with pytest.raises(CallError, match="4 images cannot be matched with 2 texts"):
            model.match(model.vision_tokens(images), model.tokenize(["a", "b"]))


class TestTemperature:
    def test_scale_is_its_inverse(self, model):
        assert model.logit_scale.shape == () and isinstance(model.temp, nn.Parameter)
        torch.testing.assert_close(model.logit_scale, 1 / model.temp)
        assert model.logit_scale.item() == pytest.approx(1 / 0.06, rel=1e-6)

    @pytest.mark.parametrize(("value", "bound"), [(0.9, 0.5), (1e-5, 0.001)])
    def test_only_that_of_blip_is_bounded(self, own, value, bound):
        with torch.no_grad():
            own.temp.fill_(value)
        free = own.sizes.temperature_range is None
        assert free is (own.fusion_encoder is not None)
        assert own.logit_scale.item() == pytest.approx(1 / (value if free else bound), rel=1e-5)
        (gradient,) = torch.autograd.grad(own.logit_scale, own.temp)
        assert gradient < 0, "it must be able to come back"
        assert own.temp.item() == pytest.approx(value)


class TestParameters:
    def test_contrast_reaches_all_but_the_idle_ones(self, own, images):
        own.train()
        contrastive_loss(own, images).backward()
        idle = {id(parameter) for parameter in own.idle_parameters()}
        assert {id(p) for p in own.parameters() if p.grad is None} == idle
        still = [n for n, p in own.named_parameters() if p.grad is not None and not p.grad.any()]
        assert still and all(name.endswith("key.bias") for name in still)

    def test_matching_reaches_the_idle_ones(self, own, images):
        logits, _ = own.match(own.vision_tokens(images), own.tokenize(TEXTS))
        logits.square().sum().backward()
        assert all(parameter.grad is not None for parameter in own.idle_parameters())

    def test_a_step_moves_what_it_should(self, own, images):
        before = {name: parameter.detach().clone() for name, parameter in own.named_parameters()}
        own.train()
        torch.manual_seed(0)  # dropout
        optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
        contrastive_loss(own, images).backward()
        optimizer.step()
        moved = {name for name, parameter in own.named_parameters() if not torch.equal(parameter, before[name])}
        idle = {name for name, p in own.named_parameters() if any(p is other for other in own.idle_parameters())}
        keys = {name for name in before if name.endswith("key.bias")}
        assert moved == before.keys() - idle - keys
        assert {"temp", "vision_proj.bias", "text_encoder.embeddings.word_embeddings.weight"} <= moved

    def test_each_is_in_one_group(self, model):
        groups = model.parameter_groups()
        assert list(groups) == list(PARAMETER_GROUPS) and all(groups.values())
        assert sum(map(len, groups.values())) == len(list(model.parameters()))
        idle = {id(parameter) for parameter in model.idle_parameters()}
        assert {id(parameter) for parameter in groups["fusion"]} == idle
        assert groups["logit"] == [model.temp]
        tower = {id(parameter) for parameter in model.image_tower().parameters()}
        assert {id(p) for name in ("vision", "vision projection") for p in groups[name]} == tower

    def test_the_image_tower_holds_what_images_use(self, own, images):
        own.encode_image(images).square().sum().backward()
        tower = {id(parameter) for parameter in own.image_tower().parameters()}
        assert {id(p) for p in own.parameters() if p.grad is not None} == tower
        state = own.image_tower().state_dict()
        assert state["vision_proj.weight"].data_ptr() == own.vision_proj.weight.data_ptr()

    def test_projections(self, model, images):
        image_map, text_map = model.projections()
        with torch.no_grad():
            features = model.vision_tokens(images).pooled @ image_map + model.vision_proj.bias
            torch.testing.assert_close(features, model.encode_image(images))
        assert image_map.shape == (24, 8) and text_map.shape == (16, 8)

    def test_adapters_go_where_contrast_reaches(self, model):
        pattern = re.compile(model.adapter_targets())
        found = [name for name, _ in model.named_modules() if pattern.fullmatch(name)]
        layers = model.sizes.text_layers
        assert len(found) == 4 * 2 + 3 * layers
        assert all(isinstance(model.get_submodule(name), nn.Linear) for name in found)
        assert not any("crossattention" in name or "fusion_encoder" in name for name in found)
        assert all(pattern.fullmatch(f"encoder.{name}") for name in found)

    def test_no_table_is_kept_for_layers_that_read_states(self, model):
        assert not [name for name, _ in model.named_parameters() if name.startswith("fusion_encoder.embeddings")]

    def test_dropout_only_while_training(self, own, images):
        tokens = own.tokenize(TEXTS)
        with torch.no_grad():
            assert torch.equal(own.encode_text(tokens), own.encode_text(tokens))
            own.train()
            assert not torch.equal(own.encode_text(tokens), own.encode_text(tokens))
            assert torch.equal(own.encode_image(images), own.encode_image(images))


class TestAttention:
    @pytest.mark.parametrize("tower", ["vision", "text", "cross"])
    @pytest.mark.parametrize("frozen", [False, True])
    def test_it_is_recorded_and_everything_restored(self, own, images, tower, frozen):
        own.requires_grad_(not frozen)
        tokens = own.tokenize(TEXTS)
        expected, _ = own.match(own.vision_tokens(images), tokens)
        hooks = [len(module._forward_pre_hooks) for module in own.modules()]
        with record_attention(own, tower) as attention:
            logits, _ = own.match(own.vision_tokens(images), tokens)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
        layers = len(own.attention_modules(tower))
        assert layers == {"vision": 2, "text": own.sizes.text_layers, "cross": own.sizes.fusion_layers or 4}[tower]
        heads, keys = {"vision": (3, 17), "text": (4, 12), "cross": (4, 17)}[tower]
        for found, slope in zip(attention.probabilities, attention.gradients(logits[:, 1].sum()), strict=True):
            assert found.shape == slope.shape and found.shape[1] == heads and found.shape[3] == keys
            torch.testing.assert_close(found.sum(dim=-1), torch.ones(found.shape[:-1]))
        with pytest.raises(RuntimeError, match="in the block"), record_attention(own, tower):
            raise RuntimeError("in the block")
        assert [len(module._forward_pre_hooks) for module in own.modules()] == hooks
        assert all(parameter.requires_grad is not frozen for parameter in own.parameters())

    @torch.no_grad()
    def test_padding_is_not_looked_at(self, model):
        tokens = model.tokenize(TEXTS)
        with record_attention(model, "text") as attention:
            model.text_states(tokens)
        for found in attention.probabilities:
            assert found.masked_select(tokens.eq(0)[:, None, None, :].expand_as(found)).eq(0).all()

    def test_there_is_no_pooling_head(self, model):
        with pytest.raises(CapabilityError, match="cannot do pooling attention"):
            model.attention_modules("pooling")


class TestAsAnyOtherModel:
    def test_random_numbers_of_the_caller_are_left_alone(self, spec):
        torch.manual_seed(3)
        expected = torch.rand(3)
        torch.manual_seed(3)
        load_encoder(spec)
        assert torch.equal(torch.rand(3), expected)

    @torch.no_grad()
    def test_a_copy_is_independent(self, model, images):
        own = copy.deepcopy(model)
        own.vision_proj.weight.zero_()
        assert not torch.equal(own.encode_image(images), model.encode_image(images))
        assert torch.equal(own.tokenize(TEXTS), model.tokenize(TEXTS))

    def test_interpolation(self, own, model, images):
        for parameter in own.parameters():
            parameter.data.add_(0.1)
        own.load_state_dict(interpolate(model.state_dict(), own.state_dict(), 0.5))
        torch.testing.assert_close(own.itm_head.bias, model.itm_head.bias + 0.05)

    @torch.no_grad()
    def test_zero_shot_classification(self, model, images):
        classifier = zero_shot_classifier(model, ["a", "b", "c"], ["a {c}", "{c} e"])
        logits = classifier(images)
        text = [functional.normalize(model.encode_text(model.tokenize([f"a {c}", f"{c} e"])), dim=-1) for c in "abc"]
        means = functional.normalize(torch.stack([part.mean(dim=0) for part in text]), dim=-1)
        expected = functional.normalize(model.encode_image(images), dim=-1) @ means.T * model.logit_scale
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    @torch.no_grad()
    def test_half_precision(self, model, spec, images, precision):
        half = load_encoder(spec, precision=precision)
        tokens = half.tokenize(TEXTS)
        cosine = functional.cosine_similarity(half.encode_image(images).float(), model.encode_image(images))
        assert cosine.min() > 0.99
        cosine = functional.cosine_similarity(half.encode_text(tokens).float(), model.encode_text(tokens))
        assert cosine.min() > 0.99
        assert half.match(half.vision_tokens(images), tokens)[0].isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("family", ["albef", "blip"])
def test_one_image_is_matched_with_every_text_and_one_text_with_every_image(family, specimen):
    model = load_encoder(specimen(family))
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    vision, tokens = model.vision_tokens(pixels), model.tokenize(["abc", "a b", "c"])
    one = dataclasses.replace(vision, tokens=vision.tokens[:1], pooled=vision.pooled[:1])
    repeated = dataclasses.replace(vision, tokens=vision.tokens[:1].repeat(3, 1, 1))
    torch.testing.assert_close(model.match(one, tokens)[0], model.match(repeated, tokens)[0])
    torch.testing.assert_close(model.match(vision, tokens[:1])[0], model.match(vision, tokens[:1].repeat(2, 1))[0])
    with pytest.raises(CallError, match="2 images cannot be matched with 3 texts"):
        model.match(vision, tokens)
