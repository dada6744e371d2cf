import random
import time

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_models import load_encoder, load_model, save_model
from vlm_models.checkpoint import weights_hash
from vlm_models.errors import CheckpointError, VlmModelsError
from vlm_models.openclip.encoder import OpenClipEncoder

ARCH = "ViT-S-32-alt"
RESNET = {"layers": (1, 1, 1, 1), "width": 8, "image_size": 32, "patch_size": None}
VIT = {"layers": 1, "width": 24, "head_width": 12, "patch_size": 16, "image_size": 32}
TEXT = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}


def in_memory(vision):
    """A small model of open_clip's own classes behind the protocol."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        clip = open_clip.CLIP(12, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**TEXT))
    return OpenClipEncoder(
        clip.eval(),
        lambda texts: torch.tensor([[1, len(text) % 40 + 2, 49, 0, 0, 0, 0, 0] for text in texts]),
        spec="memory",
        architecture={},
        preprocess=Preprocess(32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        embedding_dim=12,
    )


@pytest.fixture(scope="module")
def small():
    return load_encoder(f"openclip:{ARCH}")


@pytest.fixture(scope="module")
def weights():
    """A state dict as open_clip saves it, other than the weights of a fresh model."""
    clip = open_clip.create_model(ARCH)
    return {name: tensor + 0.5 for name, tensor in clip.state_dict().items()}


class TestRandomWeights:
    def test_they_are_the_same_at_every_call_and_leave_the_callers_draws_alone(self, small):
        torch.manual_seed(5), random.seed(5), np.random.seed(5)
        expected = torch.rand(3), random.random(), np.random.rand()
        torch.manual_seed(5), random.seed(5), np.random.seed(5)
        again = load_encoder(f"openclip:{ARCH}")
        found = torch.rand(3), random.random(), np.random.rand()
        assert torch.equal(found[0], expected[0]) and found[1:] == expected[1:]
        assert weights_hash(again.state_dict()) == weights_hash(small.state_dict())

    def test_nothing_is_said_about_them(self, caplog):
        load_encoder(f"openclip:{ARCH}")
        assert not caplog.records


class TestAgainstOpenClipItself:
    @pytest.mark.parametrize("vision", [VIT, RESNET], ids=["vit", "resnet"])
    def test_features_are_those_of_open_clip(self, vision):
        encoder = in_memory(vision)
        images = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (encoder.preprocess.mean, encoder.preprocess.std))
        pixels = (images.float() / 255 - mean) / std
        tokens = encoder.tokenize(["a", "bcd"])
        with torch.no_grad():
            torch.testing.assert_close(encoder.encode_image(images), encoder.clip.encode_image(pixels))
            torch.testing.assert_close(encoder.encode_image(pixels), encoder.clip.encode_image(pixels))
            torch.testing.assert_close(encoder.encode_text(tokens), encoder.clip.encode_text(tokens))

    def test_the_scale_is_the_exponential_of_the_stored_one(self, small):
        torch.testing.assert_close(small.logit_scale, small.clip.logit_scale.exp())
        assert small.logit_scale.shape == ()

    @pytest.mark.parametrize("vision", [VIT, RESNET], ids=["vit", "resnet"])
    def test_projections_are_the_last_maps_with_the_embedding_dimension_last(self, vision):
        encoder = in_memory(vision)
        inputs = {}
        visual, text = encoder.clip.visual, encoder.clip
        if vision is RESNET:
            visual.attnpool.c_proj.bias.data.zero_()
            map_image, map_text = encoder.projections()
            assert map_image.shape == (256, 12)
            torch.testing.assert_close(map_image.T, visual.attnpool.c_proj.weight)
        else:
            map_image, map_text = encoder.projections()
            visual.ln_post.register_forward_hook(lambda *call: inputs.update(image=call[2]))
            features = encoder.encode_image(torch.randn(2, 3, 32, 32))
            pooled = inputs["image"][:, 0] if inputs["image"].ndim == 3 else inputs["image"]
            torch.testing.assert_close(pooled @ map_image, features)
        text.ln_final.register_forward_hook(lambda *call: inputs.update(text=call[2]))
        tokens = encoder.tokenize(["a", "bcd"])
        features = encoder.encode_text(tokens)
        torch.testing.assert_close(inputs["text"][range(2), tokens.argmax(1)] @ map_text, features)

    @pytest.mark.parametrize("vision", [VIT, RESNET], ids=["vit", "resnet"])
    def test_projections_carry_gradients_to_the_weights(self, vision):
        encoder = in_memory(vision)
        for projection in encoder.projections():
            projection.square().sum().backward()
        moved = {name for name, parameter in encoder.clip.named_parameters() if parameter.grad is not None}
        own = "visual.attnpool.c_proj.weight" if vision is RESNET else "visual.proj"
        assert moved == {own, "text_projection"}

    def test_a_tower_without_a_linear_map_at_its_end_is_refused(self):
        encoder = in_memory(VIT)
        encoder.clip.visual.proj = None
        with pytest.raises(CallError, match="memory has no linear projections"):
            encoder.projections()

    def test_the_image_tower_holds_what_images_use_and_nothing_else(self):
        for vision in (VIT, RESNET):
            encoder = in_memory(vision).train()
            tower = {id(parameter) for parameter in encoder.image_tower().parameters()}
            encoder.encode_image(torch.randn(2, 3, 32, 32)).square().sum().backward()
            used = {id(parameter) for parameter in encoder.parameters() if parameter.grad is not None}
            assert used == tower
            encoder.zero_grad(set_to_none=True)
            encoder.encode_text(encoder.tokenize(["a"])).square().sum().backward()
            assert not tower & {id(parameter) for parameter in encoder.parameters() if parameter.grad is not None}

    @pytest.mark.parametrize("kind", ["CLIP", "CoCa", "SigLIP"])
    def test_idle_parameters_are_those_that_nothing_depends_on(self, kind):
        encoder = in_memory(VIT)
        if kind == "CoCa":
            decoder = open_clip.coca_model.MultimodalCfg(context_length=8, width=16, heads=2, layers=1)
            pooling = {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4}
            parts = open_clip.CLIPTextCfg(**TEXT, embed_cls=True), open_clip.CLIPVisionCfg(**VIT, **pooling)
            encoder.clip = open_clip.CoCa(12, decoder, *parts)
        elif kind == "SigLIP":
            parts = open_clip.CLIPVisionCfg(**VIT), open_clip.CLIPTextCfg(**TEXT)
            encoder.clip = open_clip.CustomTextCLIP(12, *parts, init_logit_bias=-10.0)
        tokens = torch.tensor([[1, 5, 49, 0, 0, 0, 0, 0], [1, 7, 9, 49, 0, 0, 0, 0]])
        features = encoder.encode_image(torch.randn(2, 3, 32, 32)), encoder.encode_text(tokens)
        (sum(part.square().sum() for part in features) + encoder.logit_scale).backward()
        idle = {id(parameter) for parameter in encoder.idle_parameters()}
        assert {id(p) for p in encoder.parameters() if p.grad is None} == idle
        assert bool(idle) is (kind != "CLIP")

    def test_preprocessing_is_that_of_the_architecture(self, small):
        config = open_clip.get_model_preprocess_cfg(small.clip)
        assert small.preprocess == Preprocess(224, config["mean"], config["std"], "bicubic", "shortest")
        assert small.embedding_dim == open_clip.get_model_config(ARCH)["embed_dim"]

    def test_tokens_are_those_of_open_clip(self, small):
        texts = ["a photo of a cat", "ünïcode", "word " * 200, ""]
        assert torch.equal(small.tokenize(tuple(texts)), open_clip.get_tokenizer(ARCH)(texts))
        assert small.tokenize(texts).shape == (4, 77)


class TestFiles:
    @pytest.mark.parametrize("form", ["safetensors", "pt", "checkpoint of a training on several GPUs"])
    def test_what_open_clip_saved(self, tmp_path, weights, form):
        path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pt")
        if form == "safetensors":
            save_file(weights, path)
        elif form == "pt":
            torch.save(weights, path)
        else:
            torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}}, path)
        found = load_encoder(f"openclip:{ARCH}/{path}")
        assert weights_hash(found.clip.state_dict()) == weights_hash(weights)
        assert found.spec == f"openclip:{ARCH}/{path}"

    def test_a_file_of_another_architecture_is_refused_with_lists(self, tmp_path, weights):
        torch.save(weights, tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match=r"do not fit ViT-M-32-alt: 24 missing: transformer.*\d+ misshapen: "):
            load_model(f"openclip:ViT-M-32-alt/{tmp_path}/w.pt")
        with pytest.raises(CheckpointError, match=r"do not fit RN50: 362 missing: .*151 unexpected: visual"):
            load_model(f"openclip:RN50/{tmp_path}/w.pt")

    def test_one_tensor_too_many_or_too_few(self, tmp_path, weights):
        rest = {name: tensor for name, tensor in weights.items() if name != "text_projection"}
        save_file(rest | {"surplus": torch.zeros(1)}, tmp_path / "w.safetensors")
        with pytest.raises(CheckpointError, match="1 missing: text_projection; 1 unexpected: surplus"):
            load_model(f"openclip:{ARCH}/{tmp_path}/w.safetensors")

    @pytest.mark.parametrize("suffix", ["pt", "safetensors"])
    @pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04N.", b"PK\x03\x04 cut", None], ids=repr)
    def test_damaged_files(self, tmp_path, weights, suffix, content):
        path = tmp_path / f"w.{suffix}"
        if content is None:
            torch.save(weights, path) if suffix == "pt" else save_file(weights, path)
            content = path.read_bytes()[: path.stat().st_size // 2]
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"cannot read weights from .*w\.{suffix}: .*Expected a whole"):
            load_model(f"openclip:{ARCH}/{path}")

    def test_a_pickled_model_is_read_without_being_opened(self, tmp_path, small):
        torch.save(small.clip, tmp_path / "model.pt")
        found = load_encoder(f"openclip:{ARCH}/{tmp_path}/model.pt")
        assert weights_hash(found.clip.state_dict()) == weights_hash(small.clip.state_dict())

    def test_one_inside_a_fine_tuned_classifier(self, tmp_path, weights):
        state = {f"image_encoder.model.{name}": tensor for name, tensor in weights.items()}
        torch.save(state | {"classification_head.weight": torch.zeros(3, 256)}, tmp_path / "w.pt")
        found = load_encoder(f"openclip:{ARCH}/{tmp_path}/w.pt")
        assert weights_hash(found.clip.state_dict()) == weights_hash(weights)

    def test_another_activation_is_refused_where_the_file_tells_it(self, tmp_path, weights):
        small = {"vision_cfg": open_clip.CLIPVisionCfg(**VIT), "text_cfg": open_clip.CLIPTextCfg(**TEXT)}
        torch.save(open_clip.CLIP(12, **small, quick_gelu=True), tmp_path / "model.pt")
        with pytest.raises(
            CallError, match=r"trained with quickgelu, but ViT-S-32-alt has gelu.*Write clip:.*model\.pt"
        ):
            load_model(f"openclip:{ARCH}/{tmp_path}/model.pt")
        torch.save(weights | {"input_resolution": torch.tensor(224)}, tmp_path / "w.pt")
        with pytest.raises(CallError, match=r"trained with quickgelu.*Write openclip:ViT-B-32-quickgelu/"):
            load_model(f"openclip:ViT-B-32/{tmp_path}/w.pt")

    def test_a_saved_encoder_comes_back(self, tmp_path, small):
        save_model(small, tmp_path)
        again = load_encoder(f"file:{tmp_path}")
        assert weights_hash(again.state_dict()) == weights_hash(small.state_dict())
        assert again.preprocess == small.preprocess


class TestNames:
    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("openclip:", "lacks its architecture"),
            ("openclip:vit-b-23", "Did you mean 'ViT-B-32'"),
            ("openclip:ViT-B-32/opnai", "unknown tag of ViT-B-32 'opnai'. Did you mean 'openai'"),
            ("openclip:ViT-B-32//nowhere/w.pt", "there is no weight file /nowhere/w.pt"),
            ("openclip:ViT-B-32/w.safetensors", "there is no weight file w.safetensors"),
        ],
    )
    def test_unknown_ones(self, spec, message):
        with pytest.raises(CallError) as caught:
            load_model(spec)
        assert message in str(caught.value)
        assert len(str(caught.value)) < 1200

    def test_a_tag_that_cannot_be_had_is_told_at_once(self, tmp_path, monkeypatch):
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
        before, start = constants.HF_HUB_OFFLINE, time.monotonic()
        with pytest.raises(VlmModelsError) as caught:
            load_model("openclip:ViT-B-32/laion2b_s34b_b79k")
        assert time.monotonic() - start < 5
        message = str(caught.value)
        assert "cannot load the weights 'laion2b_s34b_b79k' of ViT-B-32" in message
        assert "pass it as openclip:ViT-B-32/FILE" in message and "\n" not in message
        assert constants.HF_HUB_OFFLINE is before

    @pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "roberta-ViT-B-32"])
    def test_a_missing_package_or_tokenizer_is_told_before_the_model_is_built(self, tmp_path, monkeypatch, name):
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(VlmModelsError, match=r"pip install transformers|cannot load the tokenizer"):
            load_model(f"openclip:{name}")


class TestImageSize:
    def test_positions_are_resized_by_open_clips_rule_and_kept(self, weights, tmp_path):
        torch.save(weights, tmp_path / "w.pt")
        bigger = load_encoder(f"openclip:{ARCH}/{tmp_path / 'w.pt'},image_size=128")
        assert bigger.preprocess.size == 128
        reference = open_clip.create_model(ARCH, force_image_size=128)
        open_clip.load_checkpoint(reference, str(tmp_path / "w.pt"))
        found = bigger.clip.visual.positional_embedding
        torch.testing.assert_close(found, reference.visual.positional_embedding)
        save_model(bigger, tmp_path / "saved")
        again = load_encoder(f"file:{tmp_path / 'saved'}")
        assert again.architecture["image_size"] == 128
        images = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(again.encode_image(images), bigger.encode_image(images), rtol=0, atol=0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ("image_size=100", "image_size=100 is no multiple of the patches of ViT-S-32-alt, 32 pixels"),
            ("image_size=big", "the option image_size=big is not a positive whole number"),
            ("image_size=320000", "the option image_size=320000 is beyond all models; expected at most 10000"),
            ("image_sise=96", "Did you mean 'image_size'"),
            ("mean=1/2", "the option mean=1/2 is not three numbers"),
            ("std=1/2/0", "three positive numbers"),
            ("interpolation=cubic", "Did you mean 'bicubic'"),
            ("mean=0/0/0,mean=1/1/1", "has the option mean twice"),
        ],
    )
    def test_wrong_options_are_refused(self, options, message):
        with pytest.raises(CallError, match=message):
            load_encoder(f"openclip:{ARCH},{options}")
