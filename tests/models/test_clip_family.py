"""`clip:FILE`: files as OpenAI, WiSE-FT, FLYP, CaRot and model soups write them, written here and loaded again."""

import json
import logging
import os
import pickle
import struct
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_models import load_encoder, load_model, save_model
from vlm_models.capabilities import CapabilityError
from vlm_models.classifier import LINEAR, Classifier
from vlm_models.clip_activation import _published_hashes, find_activation
from vlm_models.clip_layout import ClipParts
from vlm_models.clip_sizes import clip_config
from vlm_models.errors import CheckpointError
from vlm_models.weight_files import WeightFile
from vlm_models.zero_shot import load_classifier, zero_shot_head

GOLDEN = Path(__file__).parents[1] / "golden" / "relevance"
MODULE = "src.models.modeling"
"""Where the programs of the WiSE-FT family keep their classes."""
RESNET = {"layers": (1, 1, 1, 1), "width": 16, "image_size": 64, "patch_size": None}
VIT = {"layers": 2, "width": 128, "patch_size": 8, "image_size": 32}
MIXED = ("ln_", "class_embedding", "positional_embedding", "token_embedding", "logit_scale", "bn", "downsample.1")
"""Parts of names of the tensors that OpenAI leaves in single precision."""


def make_clip(vision=None, quick_gelu=True, vocabulary=60, seed=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        text = open_clip.CLIPTextCfg(context_length=12, vocab_size=vocabulary, width=64, heads=1, layers=2)
        clip = open_clip.CLIP(24, open_clip.CLIPVisionCfg(**(vision or VIT)), text, quick_gelu=quick_gelu).eval()
        for name, parameter in clip.named_parameters():
            if name != "logit_scale":
                parameter.data += 0.05 * torch.randn(parameter.shape)
    return clip


def half_as_openai(state):
    """Linear and convolutional maps, projections and their biases in half precision, the rest in single precision."""
    return {
        name: one if one.dtype == torch.int64 or any(part in name for part in MIXED) else one.half()
        for name, one in state.items()
    }


def pixels(size=32, count=3):
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def tokens():
    return torch.tensor([[58, 3, 4, 59] + 8 * [0], [58, 9, 59] + 9 * [0], [58, *range(1, 11), 59]])


@torch.no_grad()
def assert_equal_features(encoder, clip):
    images = pixels(encoder.preprocess.size)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    expected = clip.encode_image((images.float() / 255 - mean) / std)
    torch.testing.assert_close(encoder.encode_image(images), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(encoder.encode_text(tokens()), clip.encode_text(tokens()), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(encoder.logit_scale, clip.logit_scale.exp())


def as_half_and_back(clip):
    """The model whose weights went through the precision of OpenAI's files."""
    clip.load_state_dict(
        {name: one.to(clip.state_dict()[name].dtype) for name, one in half_as_openai(clip.state_dict()).items()}
    )
    return clip


def write_torchscript(clip, path):
    """An archive as OpenAI publishes it: traced, with settings as tensors, in half precision."""
    size = clip.visual.image_size[0] if isinstance(clip.visual.image_size, tuple) else clip.visual.image_size
    for name, value in (("input_resolution", size), ("context_length", 12), ("vocab_size", 60)):
        vars(clip).pop(name, None)  # open_clip has numbers in their place
        clip.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; the files that it wrote stay
        traced = torch.jit.trace(clip, (torch.randn(1, 3, size, size), tokens()[:1]), check_trace=False)
        half = half_as_openai(dict(traced.named_parameters()))
        for name, parameter in traced.named_parameters():
            parameter.data = half[name].data
        traced.save(path)


@pytest.fixture(scope="module")
def clip():
    return as_half_and_back(make_clip())


class TestOpenAi:
    @pytest.mark.parametrize("vision", [VIT, RESNET], ids=["vit", "resnet"])
    def test_torchscript_archive(self, tmp_path, vision):
        expected = as_half_and_back(make_clip(vision))
        write_torchscript(as_half_and_back(make_clip(vision)), tmp_path / "model.pt")
        encoder = load_encoder(f"clip:{tmp_path}/model.pt")
        assert_equal_features(encoder, expected)
        assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
        assert encoder.architecture["activation"] == "quickgelu"
        assert encoder.spec == f"clip:{tmp_path}/model.pt"

    @pytest.mark.parametrize("form", ["pt", "legacy", "safetensors", "wrapped"])
    def test_state_dict(self, clip, tmp_path, form):
        state = half_as_openai(clip.state_dict())
        path = tmp_path / "model.pt"
        if form == "safetensors":
            save_file(state, path)
        elif form == "wrapped":
            torch.save({"epoch": 1, "state_dict": {f"module.{name}": one for name, one in state.items()}}, path)
        else:
            torch.save(state, path, _use_new_zipfile_serialization=form == "pt")
        assert_equal_features(load_encoder(f"clip:{path}"), clip)

    @pytest.mark.parametrize("name", ["clip_p16_w128", "clip_p8_w64"])
    def test_golden_features_and_logits(self, tmp_path, name):
        """Tolerance of tests/golden/relevance/README.md: 2e-6 relative to the maximum of the array."""
        state = {one: tensor.half() for one, tensor in load_file(GOLDEN / f"{name}_weights.safetensors").items()}
        torch.save(state, tmp_path / "model.pt")
        encoder, golden = load_encoder(f"clip:{tmp_path}/model.pt"), np.load(GOLDEN / f"{name}.npz")
        size = encoder.preprocess.size
        images = torch.from_numpy(golden["images_u8"])
        side = size // images.shape[-1]
        images = images.repeat_interleave(side, 2).repeat_interleave(side, 3).float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        with torch.no_grad():
            image = encoder.encode_image((images - mean.view(3, 1, 1)) / std.view(3, 1, 1))
            text = encoder.encode_text(torch.from_numpy(golden["class_tokens"]))
            logits = encoder.logit_scale * functional.normalize(image) @ functional.normalize(text).T
            head = image @ torch.from_numpy(golden["lp_weight"]).T + torch.from_numpy(golden["lp_bias"])
        found = {"image_features": image, "text_features": text, "logits_per_image": logits, "lp_logits": head}
        for array, tensor in found.items():
            largest = np.abs(golden[array]).max()
            np.testing.assert_allclose(tensor.numpy(), golden[array], rtol=0, atol=2e-6 * largest, err_msg=array)

    def test_the_preprocessing_is_openais(self, clip, tmp_path):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "model.pt")
        found = load_encoder(f"clip:{tmp_path}/model.pt,resize=squash").preprocess
        assert (found.size, found.mean, found.std) == (32, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        assert (found.interpolation, found.resize) == ("bicubic", "squash")

    def test_a_saved_model_does_not_need_the_file(self, clip, tmp_path):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "model.pt")
        encoder = load_encoder(f"clip:{tmp_path}/model.pt")
        save_model(encoder, tmp_path / "saved")
        (tmp_path / "model.pt").unlink()
        again = load_encoder(f"file:{tmp_path}/saved")
        assert_equal_features(again, clip)
        assert again.architecture == encoder.architecture


class TestSizes:
    @pytest.mark.parametrize(
        "name",
        ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "RN50", "RN101", "RN50x4", "RN50x16", "RN50x64"],
    )
    def test_those_of_every_published_model_are_read_off_its_shapes(self, name):
        expected = open_clip.get_model_config(name)
        with torch.device("meta"):
            clip = open_clip.CLIP(expected["embed_dim"], expected["vision_cfg"], expected["text_cfg"])
        found = clip_config(clip.state_dict(), name, {}, {})
        assert found["embed_dim"] == expected["embed_dim"]
        assert found["text_cfg"] == {key: expected["text_cfg"][key] for key in found["text_cfg"]}
        assert found["vision_cfg"] == {"head_width": 64, **expected["vision_cfg"]}

    @pytest.mark.parametrize("name", ["ViT-H-14", "ViT-g-14", "ViT-bigG-14"])
    def test_models_with_other_heads_are_refused(self, name):
        config = open_clip.get_model_config(name)
        with torch.device("meta"):
            clip = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
        with pytest.raises(CallError, match=rf"Write openclip:\S*{name.split('-')[1]}-14\S*/w\.pt, or vision_heads="):
            clip_config(clip.state_dict(), "w.pt", {}, {})

    def test_heads_that_no_width_tells_are_asked_for(self, tmp_path):
        clip = make_clip({**VIT, "width": 48, "head_width": 16})
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "w.pt")
        with pytest.raises(CallError, match=r"a tower of width 48.*write vision_heads=NUMBER"):
            load_model(f"clip:{tmp_path}/w.pt")
        assert_equal_features(load_encoder(f"clip:{tmp_path}/w.pt,vision_heads=3"), as_half_and_back(clip))
        with pytest.raises(CallError, match="vision_heads=5 does not divide the width of"):
            load_model(f"clip:{tmp_path}/w.pt,vision_heads=5")
        torch.save(clip, tmp_path / "module.pt")
        assert load_encoder(f"clip:{tmp_path}/module.pt").architecture["vision_cfg"]["head_width"] == 16

    def test_another_image_size_resizes_positions_by_open_clips_rule(self, clip, tmp_path):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "w.pt")
        encoder = load_encoder(f"clip:{tmp_path}/w.pt,image_size=48")
        table = clip.state_dict()["visual.positional_embedding"]
        grid = table[1:].view(1, 4, 4, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=(6, 6), mode="bicubic", antialias=True, align_corners=False)
        expected = torch.cat([table[:1], grid[0].flatten(1).T])
        torch.testing.assert_close(encoder.clip.visual.positional_embedding.data, expected)
        assert encoder.preprocess.size == 48
        assert encoder.architecture["position_resize"] == {"from": 32, "rule": "bicubic, antialias"}
        assert load_encoder(f"clip:{tmp_path}/w.pt,image_size=32").architecture.get("position_resize") is None

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("image_size=50", "no multiple of the patches"),
            ("image_size=x", "not a positive whole number"),
            ("image_sise=32", "Did you mean 'image_size'"),
        ],
    )
    def test_impossible_options(self, clip, tmp_path, option, message):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "w.pt")
        with pytest.raises(CallError, match=message):
            load_model(f"clip:{tmp_path}/w.pt,{option}")

    def test_a_resnet_has_one_size(self, tmp_path):
        torch.save(half_as_openai(make_clip(RESNET).state_dict()), tmp_path / "w.pt")
        with pytest.raises(CallError, match="reads images of 64 pixels"):
            load_model(f"clip:{tmp_path}/w.pt,image_size=96")

    @pytest.mark.parametrize(
        ("name", "rows", "message"),
        [
            ("visual.positional_embedding", 16, "16 rows. Expected one more than a square"),
            ("visual.transformer.resblocks.0.ln_1.weight", 3, "1 misshapen: visual.transformer"),
            ("surplus", 1, "1 unexpected: surplus"),
        ],
    )
    def test_tensors_that_do_not_fit_together(self, clip, tmp_path, name, rows, message):
        state = half_as_openai(clip.state_dict())
        torch.save(state | {name: state.get(name, torch.ones(9, 2))[:rows]}, tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match=message):
            load_model(f"clip:{tmp_path}/w.pt")


class TestActivation:
    def save(self, folder, state):
        torch.save(state, folder / "w.pt")
        return f"clip:{folder}/w.pt"

    def test_a_file_that_does_not_tell_is_refused(self, clip, tmp_path):
        spec = self.save(tmp_path, clip.state_dict())
        with pytest.raises(CallError) as caught:
            load_model(spec)
        assert f"{spec},activation=quickgelu for weights of OpenAI" in str(caught.value)
        assert f"{spec},activation=gelu for LAION" in str(caught.value)

    @pytest.mark.parametrize("activation", ["quickgelu", "gelu"])
    def test_the_option_decides(self, tmp_path, activation):
        expected = make_clip(quick_gelu=activation == "quickgelu")
        spec = self.save(tmp_path, expected.state_dict())
        encoder = load_encoder(f"{spec},activation={activation}")
        assert_equal_features(encoder, expected)
        assert (encoder.architecture["activation"], encoder.architecture["activation_told_by"]) == (
            activation,
            "option of the spec",
        )
        with pytest.raises(AssertionError):  # the test above sees the difference
            assert_equal_features(encoder, make_clip(quick_gelu=activation != "quickgelu"))

    def test_a_wrong_option(self, clip, tmp_path):
        with pytest.raises(CallError, match=r"unknown activation 'quick_gelu'. Did you mean 'quickgelu'"):
            load_model(self.save(tmp_path, clip.state_dict()) + ",activation=quick_gelu")

    @pytest.mark.parametrize("quick_gelu", [True, False])
    def test_a_pickled_module_tells(self, tmp_path, quick_gelu):
        expected = make_clip(quick_gelu=quick_gelu)
        (tmp_path / "w.pt").write_bytes(pickle.dumps(expected))
        encoder = load_encoder(f"clip:{tmp_path}/w.pt")
        assert_equal_features(encoder, expected)
        other = "gelu" if quick_gelu else "quickgelu"
        with pytest.raises(CallError, match=f"activation={other} contradicts"):
            load_model(f"clip:{tmp_path}/w.pt,activation={other}")

    @pytest.mark.parametrize("mark", ["input_resolution", "half", "all half"])
    def test_marks_of_openais_files(self, clip, tmp_path, caplog, mark):
        state = dict(clip.state_dict())
        if mark == "input_resolution":
            state |= {name: torch.tensor(7) for name in ("input_resolution", "context_length", "vocab_size")}
        elif mark == "half":
            state = half_as_openai(state)
        else:
            state = {name: tensor.half() for name, tensor in state.items()}
        with caplog.at_level(logging.WARNING):
            encoder = load_encoder(self.save(tmp_path, state))
        assert encoder.architecture["activation"] == "quickgelu"
        assert encoder.architecture["activation_told_by"].startswith(
            "OpenAI's entry" if mark == "input_resolution" else "half precision"
        )
        assert ("write activation=gelu if it is not theirs" in caplog.text) is (mark == "all half")

    def test_metadata_tells(self, clip, tmp_path):
        save_file(make_clip(quick_gelu=False).state_dict(), tmp_path / "w.safetensors", metadata={"activation": "gelu"})
        assert_equal_features(load_encoder(f"clip:{tmp_path}/w.safetensors"), make_clip(quick_gelu=False))

    def test_a_published_hash_tells(self, clip, tmp_path):
        torch.save(clip.state_dict(), tmp_path / "w.pt")
        file = WeightFile(tmp_path / "w.pt", dict(clip.state_dict()), {}, "torch zip")
        vars(file)["sha256"] = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"  # of ViT-B-32.pt
        assert find_activation(file, ClipParts("", file.tensors), None) == (
            "quickgelu",
            "SHA-256 that OpenAI publishes",
        )
        assert len(_published_hashes()) == 9 and all(len(one) == 64 for one in _published_hashes())


class Head(nn.Linear):
    def __init__(self, normalize=True):
        super().__init__(24, 5)
        self.normalize = normalize

    def forward(self, features):
        return super().forward(features / features.norm(dim=-1, keepdim=True) if self.normalize else features)


class ImageEncoder(nn.Module):
    def __init__(self, clip):
        super().__init__()
        self.model = clip
        self.cache_dir = None


class ImageClassifier(nn.Module):
    def __init__(self, clip, normalize=True):
        super().__init__()
        self.image_encoder = ImageEncoder(clip)
        self.classification_head = Head(normalize)
        self.process_images = True


@pytest.fixture
def wise(monkeypatch):
    """A classifier of the WiSE-FT family, whose program is not installed, without the layers of its text tower."""
    for name in ("src", "src.models", MODULE):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for cls in (Head, ImageEncoder, ImageClassifier):
        monkeypatch.setattr(cls, "__module__", MODULE)
        setattr(sys.modules[MODULE], cls.__name__, cls)
    torch.manual_seed(5)
    model = ImageClassifier(make_clip())
    del model.image_encoder.model.transformer
    return model.eval()


def write_wise(model, path, form):
    if form == "module":
        path.write_bytes(pickle.dumps(model))
    elif form == "state dict":
        torch.save(model.state_dict(), path)
    else:  # model soups: its wrapper keeps the CLIP under `model`, and saves from several GPUs
        state = {name.removeprefix("image_encoder."): one for name, one in model.state_dict().items()}
        torch.save({f"module.{name}": one for name, one in state.items()}, path)
    return f"clip:{path}"


@torch.no_grad()
def expected_logits(model, images):
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    features = model.image_encoder.model.encode_image((images.float() / 255 - mean) / std)
    return model.classification_head(features)


class TestWiseFt:
    @pytest.mark.parametrize("form", ["module", "state dict", "model soups"])
    def test_a_fine_tuned_classifier_gives_its_logits(self, wise, tmp_path, form):
        found = load_model(write_wise(wise, tmp_path / "checkpoint_10.pt", form))
        assert isinstance(found, Classifier) and found.head_kind == LINEAR
        assert found.class_names == ("#0", "#1", "#2", "#3", "#4")
        with torch.no_grad():
            torch.testing.assert_close(found(pixels()), expected_logits(wise, pixels()), rtol=1e-5, atol=1e-6)
        told = "class of the module in the file" if form == "module" else "WiSE-FT family"
        assert told in found.encoder.architecture["activation_told_by"]

    def test_it_encodes_no_text_and_says_so(self, wise, tmp_path):
        encoder = load_encoder(write_wise(wise, tmp_path / "w.pt", "module"))
        assert "text" not in encoder.capabilities and "image" in encoder.capabilities
        with pytest.raises(CapabilityError, match=r"clip:.*w\.pt cannot do text"):
            encoder.encode_text(tokens())
        idle = {id(parameter) for parameter in encoder.idle_parameters()}
        (encoder.encode_image(pixels()).square().sum() + encoder.logit_scale).backward()
        assert {id(parameter) for parameter in encoder.parameters() if parameter.grad is None} == idle and idle

    def test_a_complete_one_does(self, tmp_path):
        clip = make_clip(vocabulary=49408)
        state = {f"image_encoder.model.{name}": one for name, one in clip.state_dict().items()}
        torch.save(state | {"classification_head.weight": torch.eye(3, 24)}, tmp_path / "w.pt")
        found = load_model(f"clip:{tmp_path}/w.pt")
        assert torch.equal(found.head.bias, torch.zeros(3)) and "text" in found.encoder.capabilities
        texts = ["a photo of a cat", "two dogs"]
        reference = open_clip.get_tokenizer("ViT-B-32", context_length=12)(texts)
        assert torch.equal(found.encoder.tokenize(texts), reference)
        with torch.no_grad():
            torch.testing.assert_close(found.encoder.encode_text(reference), clip.encode_text(reference))
        assert zero_shot_head(found.encoder, ["cat", "dog"], ["a photo of a {c}"]).weight.shape == (2, 24)

    def test_it_comes_back_after_saving(self, wise, tmp_path):
        found = load_model(write_wise(wise, tmp_path / "w.pt", "module"))
        save_model(found, tmp_path / "saved")
        again = load_model(f"file:{tmp_path}/saved")
        with torch.no_grad():
            assert torch.equal(again(pixels()), found(pixels()))
        assert "text" not in again.encoder.capabilities

    def test_its_classes_are_those_of_the_data_if_there_are_as_many(self, wise, tmp_path):
        spec = write_wise(wise, tmp_path / "w.pt", "module")
        found = load_classifier(spec, list("abcde"), ["a {c}"])
        assert found.class_names == tuple("abcde") and found.head_kind == LINEAR
        with torch.no_grad():
            torch.testing.assert_close(found(pixels()), expected_logits(wise, pixels()), rtol=1e-5, atol=1e-6)
        with pytest.raises(CallError, match=r"trained for 5 classes \(#0, #1, #2, ...\), but the data has 4"):
            load_classifier(spec, list("abcd"), ["a {c}"])

    def test_a_head_on_other_features_is_refused(self, wise, tmp_path):
        wise.classification_head.normalize = False
        with pytest.raises(CheckpointError, match="trained on features that are not normalised"):
            load_model(write_wise(wise, tmp_path / "w.pt", "module"))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"classification_head.weight": torch.ones(5, 7)}, r"has the shape \(5, 7\)"),
            ({"classification_head.bias": torch.ones(4)}, r"has 5 classes and \(4,\) biases"),
            ({"teacher.model.visual.conv1.weight": torch.ones(1)}, "the file holds 2 models"),
            ({"projector.weight": torch.ones(1)}, "holds more than a CLIP and a head: 'projector.weight'"),
        ],
    )
    def test_a_head_that_does_not_fit_and_more_than_a_head(self, wise, tmp_path, changes, message):
        torch.save(wise.state_dict() | changes, tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match=message):
            load_model(f"clip:{tmp_path}/w.pt")


class TestWrongFiles:
    @pytest.mark.parametrize(
        ("kept", "message"),
        [
            (lambda name: name.startswith("visual."), "lacks token_embedding.weight, .* without a text tower"),
            (lambda name: not name.startswith("visual."), "a text tower without an image tower"),
            (lambda name: not name.startswith("transformer."), "lacks the layers of the text tower"),
            (lambda name: "logit_scale" not in name, "lacks logit_scale"),
            (lambda name: name != "visual.proj" and "class_embedding" not in name, "neither visual.proj"),
            (lambda name: name != "visual.positional_embedding", "lacks visual.positional_embedding"),
        ],
    )
    def test_a_missing_part(self, clip, tmp_path, kept, message):
        torch.save(
            {name: one for name, one in half_as_openai(clip.state_dict()).items() if kept(name)}, tmp_path / "w.pt"
        )
        with pytest.raises(CheckpointError, match=message):
            load_model(f"clip:{tmp_path}/w.pt")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("text_encoder.bert.embeddings.token_type_embeddings.weight", "of the family albef.*Write albef:"),
            ("text_encoder.encoder.layer.0.output.dense.bias", "of the family blip.*Write blip:"),
            ("vision_model.embeddings.class_embedding", "layout of transformers. Write hf:FOLDER"),
        ],
    )
    def test_a_file_of_another_family(self, tmp_path, name, message):
        torch.save({name: torch.ones(2)}, tmp_path / "w.pt")
        with pytest.raises(CallError, match=message):
            load_model(f"clip:{tmp_path}/w.pt")

    def test_a_model_saved_here(self, tmp_path):
        save_model(load_encoder("tiny"), tmp_path)
        for spec in (f"clip:{tmp_path}", f"clip:{tmp_path}/model.safetensors"):
            with pytest.raises(CallError, match=f"saved by this program. Write file:{tmp_path}"):
                load_model(spec)

    def test_something_else(self, tmp_path):
        torch.save({"fc.weight": torch.ones(2)}, tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match=r"no CLIP of OpenAI's layout.*'fc.weight'"):
            load_model(f"clip:{tmp_path}/w.pt")
        with pytest.raises(CheckpointError, match="there is no weight file"):
            load_model(f"clip:{tmp_path}/nothing.pt")
        with pytest.raises(CallError, match=r"lacks its file; write clip:FILE.pt"):
            load_model("clip:")

    def test_a_table_that_the_tokenizer_does_not_fit(self, clip, tmp_path):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match=r"has 49408 entries, but this model has a table .* of 60 rows"):
            load_encoder(f"clip:{tmp_path}/w.pt").tokenize(["a cat"])

    def test_a_model_larger_than_the_memory_is_not_built(self, clip, tmp_path):
        """A file of 1.3 terabytes that takes no room on the disk: ten billion token embeddings, never written."""
        state, header, end = half_as_openai(clip.state_dict()), {}, 0
        state["token_embedding.weight"] = torch.empty(10**10, 64, dtype=torch.float16, device="meta")
        for name, tensor in state.items():
            kind = "F16" if tensor.dtype == torch.float16 else "F32"
            header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [end, end + tensor.nbytes]}
            end += tensor.nbytes
        text = json.dumps(header).encode()
        (tmp_path / "w.pt").write_bytes(struct.pack("<Q", len(text)) + text)
        os.truncate(tmp_path / "w.pt", 8 + len(text) + end)
        with pytest.raises(CheckpointError, match=r"takes 2560\S+ GB of memory, but only|not enough memory"):
            load_model(f"clip:{tmp_path}/w.pt")

    def test_loading_leaves_the_callers_draws_alone(self, clip, tmp_path):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "w.pt")
        torch.manual_seed(5)
        expected = torch.rand(2)
        torch.manual_seed(5)
        load_model(f"clip:{tmp_path}/w.pt")
        assert torch.equal(torch.rand(2), expected)
