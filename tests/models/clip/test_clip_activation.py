"""The activation of a CLIP is in no tensor: what tells it is used, a file that does not tell is refused."""

import logging
import pickle

import pytest
import torch
from safetensors.torch import save_file

from vlm_data.errors import CallError
from vlm_models import load_encoder, load_model
from vlm_models.clip.activation import find_activation, published_hashes
from vlm_models.clip.layout import ClipParts
from vlm_models.weight_files import WeightFile


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
    def test_the_option_decides(self, tmp_path, activation, make_clip, assert_equal_features):
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
    def test_a_pickled_module_tells(self, tmp_path, quick_gelu, make_clip, assert_equal_features):
        expected = make_clip(quick_gelu=quick_gelu)
        (tmp_path / "w.pt").write_bytes(pickle.dumps(expected))
        encoder = load_encoder(f"clip:{tmp_path}/w.pt")
        assert_equal_features(encoder, expected)
        other = "gelu" if quick_gelu else "quickgelu"
        with pytest.raises(CallError, match=f"activation={other} contradicts"):
            load_model(f"clip:{tmp_path}/w.pt,activation={other}")

    @pytest.mark.parametrize("mark", ["input_resolution", "half", "all half"])
    def test_marks_of_openais_files(self, clip, tmp_path, caplog, mark, half_as_openai):
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

    def test_metadata_tells(self, clip, tmp_path, make_clip, assert_equal_features):
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
        assert len(published_hashes()) == 9 and all(len(one) == 64 for one in published_hashes())
