"""`clip:FILE`: files as OpenAI writes them, written here and loaded again; and files that are something else."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_models import load_encoder, load_model, save_model
from vlm_models.errors import CheckpointError

GOLDEN = Path(__file__).parents[2] / "golden" / "relevance"
RESNET = {"layers": (1, 1, 1, 1), "width": 16, "image_size": 64, "patch_size": None}


class TestOpenAi:
    @pytest.mark.parametrize("vision", [{}, RESNET], ids=["vit", "resnet"])
    def test_torchscript_archive(
        self, tmp_path, vision, make_clip, assert_equal_features, write_torchscript, as_half_and_back
    ):
        expected = as_half_and_back(make_clip(vision))
        write_torchscript(as_half_and_back(make_clip(vision)), tmp_path / "model.pt")
        encoder = load_encoder(f"clip:{tmp_path}/model.pt")
        assert_equal_features(encoder, expected)
        assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
        assert encoder.architecture["activation"] == "quickgelu"
        assert encoder.spec == f"clip:{tmp_path}/model.pt"

    @pytest.mark.parametrize("form", ["pt", "legacy", "safetensors", "wrapped"])
    def test_state_dict(self, clip, tmp_path, form, half_as_openai, assert_equal_features):
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

    def test_the_preprocessing_is_openais(self, clip, tmp_path, half_as_openai):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "model.pt")
        found = load_encoder(f"clip:{tmp_path}/model.pt,resize=squash").preprocess
        assert (found.size, found.mean, found.std) == (32, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        assert (found.interpolation, found.resize) == ("bicubic", "squash")

    def test_a_saved_model_does_not_need_the_file(self, clip, tmp_path, half_as_openai, assert_equal_features):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "model.pt")
        encoder = load_encoder(f"clip:{tmp_path}/model.pt")
        save_model(encoder, tmp_path / "saved")
        (tmp_path / "model.pt").unlink()
        again = load_encoder(f"file:{tmp_path}/saved")
        assert_equal_features(again, clip)
        assert again.architecture == encoder.architecture


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
    def test_a_missing_part(self, clip, tmp_path, kept, message, half_as_openai):
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

    def test_a_table_that_the_tokenizer_does_not_fit(self, clip, tmp_path, half_as_openai):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match=r"has 49408 entries, but this model has a table .* of 60 rows"):
            load_encoder(f"clip:{tmp_path}/w.pt").tokenize(["a cat"])

    def test_a_model_larger_than_the_memory_is_not_built(self, clip, tmp_path, half_as_openai):
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

    def test_loading_leaves_the_callers_draws_alone(self, clip, tmp_path, half_as_openai):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "w.pt")
        torch.manual_seed(5)
        expected = torch.rand(2)
        torch.manual_seed(5)
        load_model(f"clip:{tmp_path}/w.pt")
        assert torch.equal(torch.rand(2), expected)
