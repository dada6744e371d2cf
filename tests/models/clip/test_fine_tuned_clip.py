"""Checkpoints of WiSE-FT, FLYP, CaRot and model soups: their heads give the logits that their own modules give."""

import pickle

import open_clip
import pytest
import torch
from torch import nn

from vlm_data.errors import CallError
from vlm_models import load_encoder, load_model, save_model
from vlm_models.capabilities import CapabilityError
from vlm_models.classifier import LINEAR, Classifier
from vlm_models.errors import CheckpointError
from vlm_models.zero_shot import load_classifier, zero_shot_head

MODULE = "src.models.modeling"
"""Where the programs of the WiSE-FT family keep their classes."""


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
def wise(not_installed, make_clip):
    """A classifier of the WiSE-FT family, whose program is not installed, without the layers of its text tower."""
    not_installed(MODULE, (Head, ImageEncoder, ImageClassifier))
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
    def test_a_fine_tuned_classifier_gives_its_logits(self, wise, tmp_path, form, pixels):
        found = load_model(write_wise(wise, tmp_path / "checkpoint_10.pt", form))
        assert isinstance(found, Classifier) and found.head_kind == LINEAR
        assert found.class_names == ("#0", "#1", "#2", "#3", "#4")
        with torch.no_grad():
            torch.testing.assert_close(found(pixels()), expected_logits(wise, pixels()), rtol=1e-5, atol=1e-6)
        told = "class of the module in the file" if form == "module" else "WiSE-FT family"
        assert told in found.encoder.architecture["activation_told_by"]

    def test_it_encodes_no_text_and_says_so(self, wise, tmp_path, pixels, tokens):
        encoder = load_encoder(write_wise(wise, tmp_path / "w.pt", "module"))
        assert "text" not in encoder.capabilities and "image" in encoder.capabilities
        with pytest.raises(CapabilityError, match=r"clip:.*w\.pt cannot do text"):
            encoder.encode_text(tokens())
        idle = {id(parameter) for parameter in encoder.idle_parameters()}
        (encoder.encode_image(pixels()).square().sum() + encoder.logit_scale).backward()
        assert {id(parameter) for parameter in encoder.parameters() if parameter.grad is None} == idle and idle

    def test_a_complete_one_does(self, tmp_path, make_clip):
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

    def test_it_comes_back_after_saving(self, wise, tmp_path, pixels):
        found = load_model(write_wise(wise, tmp_path / "w.pt", "module"))
        save_model(found, tmp_path / "saved")
        again = load_model(f"file:{tmp_path}/saved")
        with torch.no_grad():
            assert torch.equal(again(pixels()), found(pixels()))
        assert "text" not in again.encoder.capabilities

    def test_its_classes_are_those_of_the_data_if_there_are_as_many(self, wise, tmp_path, pixels):
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
