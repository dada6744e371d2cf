"""Foreign files become the house's format once; what cannot be told or written leaves nothing behind."""

import json
import re

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from vlm_data.errors import CallError, VlmError
from vlm_models import load_encoder, load_model, save_model
from vlm_models.checkpoint import weights_hash
from vlm_models.classifier import Classifier
from vlm_models.conversion import check_copy, convert, recognised_spec
from vlm_models.errors import CheckpointError


@pytest.fixture(scope="module")
def state():
    text = open_clip.CLIPTextCfg(context_length=8, vocab_size=60, width=64, heads=1, layers=1)
    vision = open_clip.CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=32)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return open_clip.CLIP(16, vision, text, quick_gelu=True).state_dict()


@pytest.fixture
def clip(tmp_path, state):
    path = tmp_path / "ViT.pt"
    torch.save(state | {"input_resolution": torch.tensor(32)}, path)
    return path


class TestConvert:
    def test_a_file_without_its_family(self, clip, tmp_path):
        expected = load_encoder(f"clip:{clip}")
        folder = convert(str(clip), tmp_path / "new" / "folder")
        assert folder == tmp_path / "new" / "folder"
        origin = json.loads((folder / "model.json").read_text())["converted"]
        assert origin.keys() == {"spec", "by", "source", "sha256", "format"}
        assert (origin["spec"], origin["source"], origin["format"]) == (f"clip:{clip}", "ViT.pt", "torch zip")
        assert re.fullmatch(r"vlm-models \d+\.\d+\.\d+", origin["by"]) and len(origin["sha256"]) == 64
        clip.unlink()
        found = load_encoder(f"file:{folder}")
        assert weights_hash(found.state_dict()) == weights_hash(expected.state_dict())
        assert (found.architecture, found.preprocess) == (expected.architecture, expected.preprocess)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]

    def test_options_are_kept(self, clip, tmp_path):
        folder = convert(f"{clip},image_size=48,std=1/1/1", tmp_path / "out")
        found = load_encoder(f"file:{folder}")
        assert (found.preprocess.size, found.preprocess.std) == (48, (1.0, 1.0, 1.0))
        assert found.architecture["position_resize"]["from"] == 32

    def test_a_classifier_keeps_its_head(self, state, tmp_path):
        named = {f"image_encoder.model.{name}": tensor for name, tensor in state.items()}
        torch.save(named | {"classification_head.weight": torch.randn(3, 16)}, tmp_path / "w.pt")
        found = load_model(f"file:{convert(str(tmp_path / 'w.pt'), tmp_path / 'out')}")
        assert isinstance(found, Classifier) and found.class_names == ("#0", "#1", "#2")

    @pytest.mark.parametrize("family", ["albef", "blip", "clip"])
    def test_every_family_of_files(self, fusion_folder, clip_file, tmp_path, family):
        spec = clip_file(family) if family == "clip" else fusion_folder(family)
        path, _, _options = spec.partition(":")[2].partition(",")
        assert recognised_spec(path) == f"{family}:{path}"
        folder = convert(spec, tmp_path / "out")
        expected, found = load_encoder(spec), load_encoder(f"file:{folder}")
        assert weights_hash(found.state_dict()) == weights_hash(expected.state_dict())
        assert torch.equal(found.tokenize(["a dog"]), expected.tokenize(["a dog"]))

    def test_a_spec_without_a_file(self, tmp_path):
        folder = convert("tiny", tmp_path / "out")
        assert json.loads((folder / "model.json").read_text())["converted"]["spec"] == "tiny"

    def test_into_the_folder_of_other_things(self, clip, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        convert(str(clip), tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "ViT.pt",
            "model.json",
            "model.safetensors",
            "notes.txt",
        ]


class TestRefusals:
    def test_a_model_that_is_there(self, clip, tmp_path):
        convert("tiny", tmp_path / "out")
        before = (tmp_path / "out" / "model.json").read_text()
        with pytest.raises(CallError, match=r"holds a model already. Choose another folder, or replace it with"):
            convert(str(clip), tmp_path / "out")
        assert (tmp_path / "out" / "model.json").read_text() == before
        convert(str(clip), tmp_path / "out", overwrite=True)
        assert load_encoder(f"file:{tmp_path}/out").architecture["family"] == "clip"

    def test_one_that_was_trained_is_never_replaced(self, clip, tmp_path):
        save_model(load_encoder("tiny"), tmp_path / "run")
        with pytest.raises(CallError, match="trained or saved, so it is not replaced"):
            convert(str(clip), tmp_path / "run", overwrite=True)
        assert load_encoder(f"file:{tmp_path}/run").architecture["family"] == "tiny"

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_file_of_somebody_else_under_a_name_that_is_needed(self, fusion_folder, tmp_path, overwrite):
        spec, target = fusion_folder("albef"), tmp_path / "mine"
        target.mkdir()
        (target / "vocab.txt").write_text("my words")
        with pytest.raises(CallError, match=r"mine holds vocab\.txt, which would be replaced\. .*another folder"):
            convert(spec, target, overwrite=overwrite)
        assert (target / "vocab.txt").read_text() == "my words"
        assert [path.name for path in target.iterdir()] == ["vocab.txt"]

    def test_the_same_file_may_lie_there(self, fusion_folder, tmp_path):
        spec = fusion_folder("albef", folder=tmp_path)
        vocabulary = (tmp_path / "vocab.txt").read_bytes()
        convert(spec, tmp_path)
        convert(spec, tmp_path, overwrite=True)
        assert (tmp_path / "vocab.txt").read_bytes() == vocabulary
        assert load_encoder(f"file:{tmp_path}").architecture["family"] == "albef"

    def test_a_file_in_place_of_the_folder(self, clip, tmp_path):
        with pytest.raises(CallError, match=r"ViT\.pt is a file. Expected a folder"):
            convert("tiny", clip)
        with pytest.raises(VlmError, match=r"cannot write .*ViT\.pt/below"):
            convert("tiny", clip / "below")

    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({"fc.weight": torch.ones(1)}, "cannot be told from its tensors, 'fc.weight'.*write FAMILY:"),
            ({"visual.trunk.stem.weight": torch.ones(1)}, "one of timm: write openclip:ARCHITECTURE/"),
        ],
    )
    def test_an_unknown_family(self, tmp_path, tensors, message):
        save_file(tensors, tmp_path / "w.safetensors")
        with pytest.raises(CallError, match=message):
            convert(str(tmp_path / "w.safetensors"), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_source_that_is_none(self, tmp_path):
        with pytest.raises(CallError, match=r"nothing\.pt is neither a file nor a model spec"):
            convert(str(tmp_path / "nothing.pt"), tmp_path / "out")

    def test_hugging_face_folders_are_recognised(self, tmp_path):
        save_file({"vision_model.embeddings.class_embedding": torch.ones(1)}, tmp_path / "model.safetensors")
        assert recognised_spec(str(tmp_path)) == recognised_spec(f"{tmp_path}/model.safetensors") == f"hf:{tmp_path}"

    def test_a_file_that_does_not_tell_its_activation(self, state, tmp_path):
        torch.save(state, tmp_path / "w.pt")
        with pytest.raises(CallError, match="does not say which activation"):
            convert(str(tmp_path / "w.pt"), tmp_path / "out")
        convert(f"{tmp_path}/w.pt,activation=gelu", tmp_path / "out")
        assert load_encoder(f"file:{tmp_path}/out").architecture["activation"] == "gelu"

    def test_a_copy_that_differs_is_noticed(self, clip, tmp_path):
        model = load_encoder(f"clip:{clip}")
        save_model(model, tmp_path)
        check_copy(model, tmp_path, "it")
        save_model(load_encoder("tiny"), tmp_path)
        with pytest.raises(CheckpointError, match="of it is not what was read; nothing was kept"):
            check_copy(model, tmp_path, "it")
        model.architecture = {**model.architecture, "activation": "gelu"}  # equal weights, other features
        save_model(model, tmp_path)
        with pytest.raises(CheckpointError, match="of it is not what was read; nothing was kept"):
            check_copy(model, tmp_path, "it")
