"""`hf:` against transformers itself, for every class of model."""

import copy
import random
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import AutoImageProcessor, AutoTokenizer

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_data.transforms import evaluation_transform
from vlm_models import load_encoder, save_model
from vlm_models.huggingface.towers import vision_inputs
from vlm_models.interface import PARAMETER_GROUPS
from vlm_models.weight_space import interpolate
from vlm_models.zero_shot import zero_shot_head

KINDS = ("clip", "clip-early", "metaclip_2", "siglip", "siglip2", "chinese_clip", "altclip")
SIGMOID, BERT = ("siglip", "siglip2"), ("chinese_clip", "altclip")
TEXTS = ["a photo of a cat.", "Dog", "的 猫 photo of a dog", ""]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def encoder(kind, published):
    return load_encoder(f"hf:{published(kind)[0]}")


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def library_inputs(folder, kind, texts, images=None):
    """What a user of transformers would feed the model, by its own tokenizer and image processor."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    if kind in SIGMOID:
        words = [text.lower() for text in texts]
        tokens = tokenizer(words, padding="max_length", truncation=True, max_length=14, return_tensors="pt")
        inputs = {"input_ids": tokens["input_ids"]}
    else:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=16, return_tensors="pt")
        inputs = {key: tokens[key] for key in ("input_ids", "attention_mask")}
    if images is not None:
        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        inputs |= dict(AutoImageProcessor.from_pretrained(folder)(pictures, return_tensors="pt"))
    return inputs


class TestAgainstTheLibrary:
    @torch.no_grad()
    def test_features(self, kind, published, encoder, images):
        folder, library = published(kind)
        inputs = library_inputs(folder, kind, TEXTS, images)
        tokens = {key: value for key, value in inputs.items() if key in ("input_ids", "attention_mask")}
        pixels = {key: value for key, value in inputs.items() if key not in tokens}
        found = encoder.encode_image(images), encoder.encode_text(encoder.tokenize(TEXTS))
        expected = library.get_image_features(**pixels), library.get_text_features(**tokens)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs.pooler_output, atol=1e-6, rtol=1e-6)
        assert encoder.embedding_dim == found[0].shape[1] == found[1].shape[1]

    @torch.no_grad()
    def test_logits_with_scale_and_bias(self, kind, published, encoder, images):
        folder, library = published(kind)
        expected = library(**library_inputs(folder, kind, TEXTS, images)).logits_per_image
        image, text = encoder.encode_image(images), encoder.encode_text(encoder.tokenize(TEXTS))
        cosines = functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T
        bias = 0 if encoder.logit_bias is None else encoder.logit_bias
        torch.testing.assert_close(encoder.logit_scale * cosines + bias, expected, atol=1e-5, rtol=1e-5)
        assert (encoder.logit_bias is not None) == (kind in SIGMOID) and encoder.logit_scale.shape == ()

    def test_zero_shot_head(self, kind, published, encoder, images):
        folder, library = published(kind)
        head = zero_shot_head(encoder, ["cat", "dog"], ["a photo of a {c}"])
        with torch.no_grad():
            prompts = ["a photo of a cat", "a photo of a dog"]
            expected = library(**library_inputs(folder, kind, prompts, images)).logits_per_image
            torch.testing.assert_close(head(encoder.encode_image(images)), expected, atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_an_image_on_disk_is_prepared_like_the_library_does(self, kind, published, encoder):
        # 64 x 48 becomes 42 x 32: five columns are cut on either side. Of an odd rest the library cuts the smaller half
        # on the left, torchvision, and so CLIP's own transform, the half that is even. NaFlex keeps the shape of a
        # picture, where the house makes it square.
        noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((48, 48) if kind == "siglip2" else (64, 48))
        ours = encoder.preprocess.normalise(evaluation_transform(picture, encoder.preprocess)[None])
        ours = vision_inputs(encoder.model, ours)["pixel_values"]
        theirs = AutoImageProcessor.from_pretrained(published(kind)[0])(picture, return_tensors="pt")["pixel_values"]
        assert ours.shape == theirs.shape
        # Pillow and torchvision round differently: a few steps of 1/255, divided by the standard deviation
        assert float((ours - theirs).abs().max()) < 4 / 255 / 0.4

    def test_preprocessing(self, kind, encoder):
        resize = "squash" if kind in (*SIGMOID, "chinese_clip") else "shortest"
        filtered = "bilinear" if kind in SIGMOID else "bicubic"
        assert encoder.preprocess == Preprocess(32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), filtered, resize)


class TestTexts:
    def test_one_length_padded_on_the_right(self, kind, published, encoder):
        tokens = encoder.tokenize([*TEXTS, "x " * 100])
        assert tokens.dtype == torch.int64
        length = {"siglip": 14, "siglip2": 14, "chinese_clip": 52, "altclip": 77}.get(kind, 16)
        assert tokens.shape == (5, length)
        assert tokens[1, -1] == encoder.tokens.padding and tokens[1, 0] != encoder.tokens.padding
        end = encoder.tokenize([""])[0]
        end = [number for number in end.tolist() if number != encoder.tokens.padding]
        if kind not in ("clip", "clip-early"):  # which pad with the end token
            assert tokens[4, -1] == end[-1]  # a text that is cut keeps it

    def test_no_text(self, encoder):
        assert encoder.tokenize([]).shape == (0, encoder.tokenize(["a"]).shape[1])

    def test_capitals_make_no_difference_to_siglip(self, kind, encoder):
        same = torch.equal(encoder.tokenize(["DOG"]), encoder.tokenize(["dog"]))
        assert same is (kind not in ("metaclip_2", "altclip"))  # the tokenizers of CLIP and BERT lower them, too

    @torch.no_grad()
    def test_padding_says_nothing_but_to_siglip(self, kind, encoder):
        tokens = encoder.tokenize(["a dog", "cat"])
        features = encoder.encode_text(tokens)
        shorter = encoder.encode_text(tokens[:, :12])
        if kind in SIGMOID:
            assert float((features - shorter).abs().max()) > 0.01
        else:
            torch.testing.assert_close(shorter, features, atol=1e-6, rtol=1e-6)

    @torch.no_grad()
    def test_one_row_is_that_of_the_batch(self, encoder, images):
        tokens = encoder.tokenize(TEXTS)
        texts, pictures = encoder.encode_text(tokens), encoder.encode_image(images)
        for row in range(4):
            torch.testing.assert_close(encoder.encode_text(tokens[row : row + 1])[0], texts[row], atol=1e-6, rtol=1e-6)
            one = encoder.encode_image(images[row : row + 1])[0]
            torch.testing.assert_close(one, pictures[row], atol=1e-6, rtol=1e-6)


class TestTokens:
    @torch.no_grad()
    def test_they_are_those_after_the_final_norm(self, kind, published, encoder, images):
        folder, library = published(kind)
        inputs = library_inputs(folder, kind, TEXTS, images)
        inputs = {key: value for key, value in inputs.items() if key not in ("input_ids", "attention_mask")}
        states = library.vision_model(**inputs).last_hidden_state
        found = encoder.vision_tokens(images)
        if kind in SIGMOID:
            torch.testing.assert_close(found.tokens, states, atol=5e-6, rtol=1e-5)
            torch.testing.assert_close(found.pooled, library.vision_model.head(states), atol=5e-6, rtol=1e-5)
        else:
            norm = library.vision_model.post_layernorm
            expected = functional.layer_norm(states, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
            torch.testing.assert_close(found.tokens, expected, atol=5e-6, rtol=1e-5)
            torch.testing.assert_close(found.pooled, found.tokens[:, 0])
        assert (found.prefix_tokens, found.grid) == (0 if kind in SIGMOID else 1, (4, 4))
        assert found.patches.shape == (4, 4, 4, 24)
        torch.testing.assert_close(found.features, encoder.encode_image(images))
        torch.testing.assert_close(encoder.project_image(found.pooled), found.features)

    @torch.no_grad()
    def test_patches_are_where_the_pixels_are(self, encoder):
        """Change one patch of an image, without blocks in between: one token changes, that of its row and column."""
        encoder = copy.deepcopy(encoder)
        encoder.model.vision_model.encoder.layers = nn.ModuleList()
        plain = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
        marked = plain.clone()
        marked[:, :, 8:16, 24:32] = 200  # second row, last column
        difference = (encoder.vision_tokens(marked).patches - encoder.vision_tokens(plain).patches).abs().sum(-1)[0]
        assert difference.nonzero().tolist() == [[1, 3]]

    @torch.no_grad()
    def test_a_region_is_pooled_as_the_tower_pools_an_image(self, kind, encoder, images):
        features, regions = encoder.features_and_map(images)
        torch.testing.assert_close(features, encoder.encode_image(images))
        assert regions.shape == (4, 24, 4, 4)
        if kind in SIGMOID:
            torch.testing.assert_close(encoder.region_features(regions), encoder.encode_image(images))
        else:
            expected = encoder.project_image(encoder.vision_tokens(images).tokens[:, 1:].mean(dim=1))
            torch.testing.assert_close(encoder.region_features(regions), expected)


def contrastive(encoder, images):
    """The softmax loss of CLIP over a batch of pairs."""
    tokens = encoder.tokenize(TEXTS)
    image, text = encoder.encode_image(images), encoder.encode_text(tokens)
    logits = encoder.logit_scale * functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T
    targets = torch.arange(len(logits))
    return functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)


class TestParameters:
    def test_a_contrastive_loss_reaches_all_but_the_idle_ones(self, kind, encoder, images):
        contrastive(encoder, images).backward()
        idle = {id(parameter) for parameter in encoder.idle_parameters()}
        assert {id(parameter) for parameter in encoder.parameters() if parameter.grad is None} == idle
        assert len(idle) == (1 if kind in SIGMOID else 0)
        still = [name for name, p in encoder.named_parameters() if p.grad is not None and not p.grad.any()]
        assert still == [name for name, _ in encoder.named_parameters() if re.search(r"\.(k_proj|key)\.bias$", name)]

    def test_the_image_tower_holds_what_images_use_and_nothing_else(self, encoder, images):
        tower = encoder.image_tower()
        encoder.encode_image(images).square().sum().backward()
        used = {id(parameter) for parameter in encoder.parameters() if parameter.grad is not None}
        assert used == {id(parameter) for parameter in tower.parameters()}
        encoder.zero_grad(set_to_none=True)
        encoder.encode_text(encoder.tokenize(["a"])).square().sum().backward()
        texts = {id(parameter) for parameter in encoder.parameters() if parameter.grad is not None}
        assert texts and not used & texts

    @torch.no_grad()
    def test_writing_into_the_image_tower_writes_into_the_model(self, encoder, images):
        before, texts = encoder.encode_image(images), encoder.encode_text(encoder.tokenize(TEXTS))
        state = {name: tensor + 0.1 for name, tensor in encoder.image_tower().state_dict().items()}
        encoder.image_tower().load_state_dict(state)
        assert float((encoder.encode_image(images) - before).abs().max()) > 0.01
        torch.testing.assert_close(encoder.encode_text(encoder.tokenize(TEXTS)), texts)

    def test_every_parameter_has_one_group(self, kind, encoder):
        groups = encoder.parameter_groups()
        assert tuple(groups) == PARAMETER_GROUPS
        assert sum(map(len, groups.values())) == len(list(encoder.parameters()))
        assert len(groups["logit"]) == (2 if kind in SIGMOID else 1) and not groups["fusion"]
        vision = {id(parameter) for group in ("vision", "vision projection") for parameter in groups[group]}
        assert vision == {id(parameter) for parameter in encoder.image_tower().parameters()}
        assert len(groups["text projection"]) == (2 if kind in SIGMOID else 1)

    def test_projections_are_the_last_maps(self, kind, encoder, images):
        if kind in SIGMOID:
            with pytest.raises(CallError, match="has no linear projections"):
                encoder.projections()
            return
        image_map, text_map = encoder.projections()
        found = encoder.vision_tokens(images)
        torch.testing.assert_close(found.pooled @ image_map, found.features)
        assert text_map.shape == (20 if kind == "altclip" else 16, 12)
        (image_map.sum() + text_map.sum()).backward()
        moved = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
        assert moved == {"model.visual_projection.weight", "model.text_projection.weight"}

    def test_adapters_go_to_attention_and_mlp_of_both_towers(self, kind, encoder):
        pattern = re.compile(encoder.adapter_targets())
        maps = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
        chosen = [name for name in maps if pattern.fullmatch(name)]
        assert len([name for name in chosen if "vision_model" in name]) == 2 * 6
        assert len([name for name in chosen if "text_model" in name]) == 2 * 6
        rest = {name for name in maps if name not in chosen}
        outside = {"visual_projection", "text_projection", "text_model.head", "text_model.transformation"}
        outside |= {"vision_model.head.mlp.fc1", "vision_model.head.mlp.fc2", "vision_model.head.attention.out_proj"}
        outside |= {"vision_model.embeddings.patch_embedding"}
        assert {name.removeprefix("model.") for name in rest} <= outside


class TestCopies:
    @torch.no_grad()
    def test_a_saved_model_comes_back_without_the_folder_it_was_loaded_from(self, tmp_path, kind, published, images):
        folder = shutil.copytree(published(kind)[0], tmp_path / "published")
        encoder = load_encoder(f"hf:{folder}")
        save_model(encoder, tmp_path / "saved")
        expected = encoder.encode_image(images), encoder.encode_text(encoder.tokenize(TEXTS)), encoder.tokenize(TEXTS)
        shutil.rmtree(folder)
        again = load_encoder(f"file:{tmp_path / 'saved'}")
        found = again.encode_image(images), again.encode_text(again.tokenize(TEXTS)), again.tokenize(TEXTS)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=0, rtol=0)
        assert again.preprocess == encoder.preprocess
        save_model(again, tmp_path / "again")
        assert load_encoder(f"file:{tmp_path / 'again'}").architecture == again.architecture == encoder.architecture

    @torch.no_grad()
    def test_a_deep_copy_is_a_model_of_its_own(self, encoder, images):
        other = copy.deepcopy(encoder)
        expected = encoder.encode_image(images)
        torch.testing.assert_close(other.encode_image(images), expected)
        assert torch.equal(other.tokenize(TEXTS), encoder.tokenize(TEXTS))
        for parameter in other.parameters():
            parameter.zero_()
        torch.testing.assert_close(encoder.encode_image(images), expected)

    @torch.no_grad()
    def test_two_models_can_be_mixed(self, encoder, images):
        tuned = copy.deepcopy(encoder)
        for parameter in tuned.parameters():
            parameter += 0.01
        middle = copy.deepcopy(encoder)
        middle.load_state_dict(interpolate(encoder.state_dict(), tuned.state_dict(), 0.5))
        for name, parameter in middle.named_parameters():
            torch.testing.assert_close(parameter, encoder.get_parameter(name) + 0.005)
        middle.load_state_dict(interpolate(encoder.state_dict(), tuned.state_dict(), 1.0))
        torch.testing.assert_close(middle.encode_image(images), tuned.encode_image(images), atol=0, rtol=0)

    def test_loading_leaves_the_draws_of_the_caller_alone(self, kind, published):
        torch.manual_seed(5), random.seed(5), np.random.seed(5)
        expected = torch.rand(3), random.random(), np.random.rand()
        torch.manual_seed(5), random.seed(5), np.random.seed(5)
        load_encoder(f"hf:{published(kind)[0]}")
        found = torch.rand(3), random.random(), np.random.rand()
        assert torch.equal(found[0], expected[0]) and found[1:] == expected[1:]

    @torch.no_grad()
    def test_half_precision(self, kind, published, encoder, images):
        half = load_encoder(f"hf:{published(kind)[0]}", precision="bf16")
        features = half.encode_image(images), half.encode_text(half.tokenize(TEXTS))
        assert {feature.dtype for feature in features} == {torch.bfloat16}
        expected = encoder.encode_image(images), encoder.encode_text(encoder.tokenize(TEXTS))
        for ours, theirs in zip(features, expected, strict=True):
            assert float(functional.cosine_similarity(ours.float(), theirs).min()) > 0.97
