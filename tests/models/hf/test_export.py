"""What is exported, loaded by transformers and open_clip themselves."""

import json
import shutil
import subprocess
import sys

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, CLIPModel

from vlm_data.errors import CallError, VlmError
from vlm_data.preprocess import Preprocess
from vlm_models import load_encoder
from vlm_models.checkpoint import weights_hash
from vlm_models.errors import VlmModelsError
from vlm_models.export import export_huggingface, export_open_clip
from vlm_models.export.renaming import to_open_clip, to_transformers
from vlm_models.openclip.encoder import OpenClipEncoder

KINDS = ("clip", "clip-early", "metaclip_2", "siglip", "siglip2", "chinese_clip", "altclip")
TEXTS = ["a photo of a cat.", "The digit 7, Twice", "ünïcode", ""]
VISION = {"layers": 2, "width": 24, "head_width": 8, "patch_size": 8, "image_size": 32, "mlp_ratio": 2.0}
RESNET = {"layers": (1, 1, 1, 1), "width": 8, "image_size": 32, "patch_size": None}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 4, "layers": 2}


def in_memory(activation="gelu", vision=VISION, **settings):
    """A small CLIP of open_clip with the published vocabulary, and weights that are far from their start."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        parts = open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**TEXT, **settings)
        clip = open_clip.CLIP(12, *parts, quick_gelu=activation == "quickgelu")
        for parameter in clip.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    architecture = {"family": "clip", "embed_dim": 12, "vision_cfg": vision, "text_cfg": TEXT, "activation": activation}
    return OpenClipEncoder(
        clip,
        SimpleTokenizer(context_length=16),
        spec="memory",
        architecture=architecture,
        preprocess=Preprocess(32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", "squash"),
        embedding_dim=12,
    ).eval()


@pytest.fixture(scope="module")
def pictures():
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in noise]


def pixels(pictures):
    return torch.stack([torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in pictures])


@torch.no_grad()
def own_features(encoder, pictures):
    return encoder.encode_image(pixels(pictures)), encoder.encode_text(encoder.tokenize(TEXTS))


def assert_same(found, expected, tolerance=2e-5):
    for theirs, ours in zip(found, expected, strict=True):
        torch.testing.assert_close(theirs, ours, atol=tolerance, rtol=tolerance)


@torch.no_grad()
def transformers_features(folder, pictures):
    """What a user of transformers gets from a folder, who never heard of this project."""
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer, processor = AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    tokens = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    images = model.get_image_features(**processor(pictures, return_tensors="pt"))
    return model, (images.pooler_output, model.get_text_features(**tokens).pooler_output)


@torch.no_grad()
def open_clip_features(folder, pictures):
    """What a user of open_clip gets from a folder."""
    clip, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    images = torch.stack([prepare(picture) for picture in pictures])
    return clip.eval(), (clip.encode_image(images), clip.encode_text(tokens))


def encoder_look(encoder):
    return encoder.preprocess.mean, encoder.preprocess.std


class TestHuggingFace:
    @pytest.mark.parametrize("spec", ["tiny", "openclip:ViT-S-32-alt", "gelu", "quickgelu"])
    def test_a_clip_of_open_clip_becomes_one_of_transformers(self, tmp_path, pictures, spec):
        encoder = in_memory(spec) if spec.endswith("gelu") else load_encoder(spec)
        export_huggingface(encoder, tmp_path / "out")
        sized = [picture.resize((encoder.preprocess.size,) * 2) for picture in pictures]
        model, found = transformers_features(tmp_path / "out", sized)
        assert isinstance(model, CLIPModel)
        assert_same(found, own_features(encoder, sized))
        torch.testing.assert_close(model.logit_scale.exp(), encoder.logit_scale)
        again = load_encoder(f"hf:{tmp_path / 'out'}")
        assert_same(own_features(again, sized), own_features(encoder, sized))
        assert again.preprocess == encoder.preprocess and again.embedding_dim == encoder.embedding_dim

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_came_from_transformers_goes_back(self, tmp_path, published, pictures, kind):
        encoder = load_encoder(f"hf:{published(kind)[0]}")
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter += 0.02
        export_huggingface(encoder, tmp_path / "out")
        expected = own_features(encoder, pictures)
        assert_same(own_features(load_encoder(f"hf:{tmp_path / 'out'}"), pictures), expected, 1e-6)
        if not kind.startswith("siglip"):  # whose users pad to a length of their own
            assert_same(transformers_features(tmp_path / "out", pictures)[1], expected, 1e-5)
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert config["model_type"] == kind.partition("-")[0] and config["architectures"]

    def test_another_image_size_is_kept(self, tmp_path, published, pictures):
        encoder = load_encoder(f"hf:{published('clip')[0]},image_size=48")
        export_huggingface(encoder, tmp_path / "out")
        large = [picture.resize((48, 48)) for picture in pictures]
        assert_same(transformers_features(tmp_path / "out", large)[1], own_features(encoder, large), 1e-5)

    def test_a_model_in_half_precision(self, tmp_path):
        encoder = load_encoder("tiny", precision="bf16")
        export_huggingface(encoder, tmp_path / "out")
        assert next(encoder.parameters()).dtype == torch.bfloat16
        state = load_file(tmp_path / "out" / "model.safetensors")
        assert {tensor.dtype for tensor in state.values()} == {torch.float32}

    def test_what_transformers_has_no_class_for(self, tmp_path):
        with pytest.raises(CallError, match=r"memory cannot be written as a CLIPModel.*no transformers of open_clip"):
            export_huggingface(in_memory(vision=RESNET), tmp_path / "out")
        with pytest.raises(
            CallError, match=r"other parts: 4 unexpected: vision_model\.encoder\.layers\.0\.ls_1\.gamma"
        ):
            export_huggingface(in_memory(vision={**VISION, "ls_init_value": 0.1}), tmp_path / "out")
        other = in_memory()
        other.tokenizer = SimpleTokenizer(context_length=16, clean="canonicalize")
        with pytest.raises(CallError, match="its tokenizer is not that of CLIP"):
            export_huggingface(other, tmp_path / "out")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("settings", [{"pool_type": "last"}, {"no_causal_mask": True}])
    def test_a_difference_that_no_name_shows_is_found_by_its_features(self, tmp_path, settings):
        with pytest.raises(VlmModelsError, match=r"gives other features: .* text features by 0\.\d+.*Nothing was left"):
            export_huggingface(in_memory(**settings), tmp_path / "out")
        with pytest.raises(VlmModelsError, match=r"gives other features: image features differ by 0\.\d+"):
            export_huggingface(in_memory(vision={**VISION, "pool_type": "avg"}), tmp_path / "out")
        assert not list(tmp_path.iterdir())


class TestOpenClip:
    @pytest.mark.parametrize("spec", ["tiny", "openclip:ViT-S-32-alt", "gelu", "quickgelu", "resnet"])
    def test_its_own_models_come_back(self, tmp_path, pictures, spec):
        if spec == "resnet":
            encoder = in_memory(vision=RESNET)
        else:
            encoder = in_memory(spec) if spec.endswith("gelu") else load_encoder(spec)
        export_open_clip(encoder, tmp_path / "out")
        sized = [picture.resize((encoder.preprocess.size,) * 2) for picture in pictures]
        clip, found = open_clip_features(tmp_path / "out", sized)
        assert_same(found, own_features(encoder, sized))
        assert weights_hash(clip.state_dict()) == weights_hash(encoder.clip.state_dict())
        assert (tuple(clip.visual.image_mean), tuple(clip.visual.image_std)) == encoder_look(encoder)
        has_tokenizer = (tmp_path / "out" / "tokenizer.json").is_file()
        assert has_tokenizer is (spec == "tiny")  # whose vocabulary is not that of open_clip

    @pytest.mark.parametrize("kind", ["clip", "clip-early", "metaclip_2"])
    def test_a_clip_of_transformers_becomes_one_of_open_clip(self, tmp_path, published, pictures, kind):
        encoder = load_encoder(f"hf:{published(kind)[0]}")
        export_open_clip(encoder, tmp_path / "out")
        clip, found = open_clip_features(tmp_path / "out", pictures)
        assert isinstance(clip, open_clip.CLIP)
        assert_same(found, own_features(encoder, pictures))
        torch.testing.assert_close(clip.logit_scale.exp(), encoder.logit_scale)

    def test_another_image_size_is_kept(self, tmp_path, pictures):
        encoder = load_encoder("openclip:ViT-S-32-alt,image_size=64")
        export_open_clip(encoder, tmp_path / "out")
        sized = [picture.resize((64, 64)) for picture in pictures]
        clip, found = open_clip_features(tmp_path / "out", sized)
        assert clip.visual.image_size == (64, 64)
        assert_same(found, own_features(encoder, sized))

    @pytest.mark.parametrize("kind", ["siglip", "chinese_clip"])
    def test_what_open_clip_has_no_class_for(self, tmp_path, published, kind):
        encoder = load_encoder(f"hf:{published(kind)[0]}")
        with pytest.raises(
            CallError, match=r"cannot be written for open_clip: it is a \w+ with .*--layout huggingface"
        ):
            export_open_clip(encoder, tmp_path / "out")

    def test_an_interpolation_it_does_not_know(self, tmp_path):
        with pytest.raises(CallError, match="bicubic or bilinear interpolation only"):
            export_open_clip(load_encoder("tiny,interpolation=nearest"), tmp_path / "out")

    def test_a_crop_out_of_a_larger_image(self, tmp_path):
        with pytest.raises(CallError, match="cuts out no less than the shorter side"):
            export_open_clip(load_encoder("tiny,resize_side=36"), tmp_path / "out")


class TestThereAndBack:
    def test_weights_return_bit_by_bit(self, tmp_path, pictures):
        tiny = load_encoder("tiny")
        export_huggingface(tiny, tmp_path / "first")
        export_open_clip(load_encoder(f"hf:{tmp_path / 'first'}"), tmp_path / "second")
        state = load_file(tmp_path / "second" / "open_clip_model.safetensors")
        assert weights_hash(state) == weights_hash(tiny.clip.state_dict())
        assert_same(open_clip_features(tmp_path / "second", pictures)[1], own_features(tiny, pictures))

    def test_names_of_every_tensor(self, published):
        clip, library = in_memory().clip, published("clip")[1]
        renamed = to_transformers(clip.state_dict())
        assert renamed.keys() == library.state_dict().keys()
        back = to_open_clip(renamed)
        assert back.keys() == clip.state_dict().keys()
        assert all(torch.equal(back[name], tensor) for name, tensor in clip.state_dict().items())

    def test_a_text_tower_of_its_own_module(self, tmp_path, pictures):
        """`CustomTextCLIP` keeps the same text tower under `text.`."""
        plain = in_memory()
        parts = open_clip.CLIPVisionCfg(**VISION), open_clip.CLIPTextCfg(**TEXT)
        custom = open_clip.CustomTextCLIP(12, *parts)
        names = {name.removeprefix("text."): name for name in custom.state_dict()}
        custom.load_state_dict({names[name]: tensor for name, tensor in plain.clip.state_dict().items()})
        expected = own_features(plain, pictures)
        plain.clip = custom.eval()
        export_huggingface(plain, tmp_path / "out")
        assert_same(transformers_features(tmp_path / "out", pictures)[1], expected)


@pytest.mark.parametrize("export", [export_huggingface, export_open_clip])
class TestPlaces:
    def test_a_folder_in_use_is_left_alone(self, tmp_path, export):
        (tmp_path / "note.txt").write_text("mine")
        tiny = load_encoder("tiny")
        with pytest.raises(CallError, match=r"is not empty.*--overwrite"):
            export(tiny, tmp_path)
        with pytest.raises(CallError, match="holds no earlier export"):
            export(tiny, tmp_path, overwrite=True)
        assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
        with pytest.raises(CallError, match=r"note\.txt is a file. Expected a folder"):
            export(tiny, tmp_path / "note.txt", overwrite=True)

    def test_an_earlier_export_is_replaced(self, tmp_path, export):
        out = tmp_path / "out"
        export(load_encoder("openclip:ViT-S-32-alt"), out)
        with pytest.raises(CallError, match="is not empty"):
            export(load_encoder("tiny"), out)
        assert export(load_encoder("tiny"), out, overwrite=True) == out
        shutil.copytree(export(load_encoder("tiny"), tmp_path / "new"), tmp_path / "copy")
        for path in (tmp_path / "copy").iterdir():
            assert (out / path.name).read_bytes() == path.read_bytes()
        assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "copy").iterdir()}
        assert {path.name for path in tmp_path.iterdir()} == {"out", "new", "copy"}

    def test_a_place_that_cannot_be_written(self, tmp_path, export):
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(VlmError, match=r"cannot write .*file/out"):
            export(load_encoder("tiny"), tmp_path / "file" / "out")
        assert (tmp_path / "file").read_text() == "no folder"

    def test_a_full_disk(self, tmp_path, export):
        program = f"""
import resource
from vlm_data.errors import VlmError
from vlm_models import load_encoder
from vlm_models.export import {export.__name__} as export
tiny = load_encoder("tiny")
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    export(tiny, "out")
except VlmError as error:
    print(error)
"""
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.stderr == ""
        assert done.stdout.startswith("cannot write ") and "File too large" in done.stdout
        assert not list(tmp_path.iterdir())

    def test_a_model_of_neither_library(self, tmp_path, export, fusion_folder):
        spec = fusion_folder("albef")
        with pytest.raises(CallError, match=r"cannot be written .*no CLIP with both towers"):
            export(load_encoder(spec), tmp_path / "out")


def test_unit_features_are_compared_not_raw_ones(tmp_path):
    """A model whose features are a thousand times longer is exported all the same."""
    encoder = load_encoder("tiny")
    with torch.no_grad():
        encoder.clip.visual.proj *= 1000
    export_huggingface(encoder, tmp_path / "out")
    found = load_encoder(f"hf:{tmp_path / 'out'}")
    black = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    with torch.no_grad():
        cosine = functional.cosine_similarity(found.encode_image(black), encoder.encode_image(black))
    assert float(cosine) == pytest.approx(1, abs=1e-6)
