"""BLIP in the layout of Hugging Face, written by transformers itself."""

import json

import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BlipConfig,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
)
from transformers.models.bert import BertTokenizer

from vlm_data.errors import CallError
from vlm_data.transforms import evaluation_transform
from vlm_models import load_encoder, load_model, save_model
from vlm_models.capabilities import CapabilityError
from vlm_models.errors import CheckpointError
from vlm_models.export import export_huggingface
from vlm_models.export.blip import huggingface_blip
from vlm_models.huggingface.blip import load_blip_retrieval

TEXTS = ["a b c", "d", "a [MASK] e f g"]


def load(folder, **options):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return load_blip_retrieval(folder, config, **options).eval()


@pytest.fixture(scope="module")
def library(fusion_words):
    words = len(fusion_words) + 2
    text = {"hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 20}
    vision = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 32}
    ids = {"bos_token_id": words - 2, "sep_token_id": 2, "eos_token_id": 2, "vocab_size": words}
    config = BlipConfig(
        text_config=text | ids | {"max_position_embeddings": 12, "initializer_range": 0.3},
        vision_config=vision | {"image_size": 16, "patch_size": 4, "initializer_range": 0.3},
        image_text_hidden_size=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BlipForImageTextRetrieval(config).eval()


@pytest.fixture
def folder(tmp_path, library, fusion_words):
    """What the library writes for a model, its tokenizer and its image processor."""
    library.save_pretrained(tmp_path)
    tokenizer = BertTokenizer({word: index for index, word in enumerate(fusion_words)})
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    tokenizer.save_pretrained(tmp_path)
    BlipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@torch.no_grad()
def check_same(encoder, library, images):
    """Compare cosines, and matching with the token that BLIP was trained with."""
    pixels, tokens = encoder.preprocess.normalise(images), encoder.tokenize(TEXTS)
    mask = tokens.ne(0).long()
    found = [functional.normalize(part, dim=-1) for part in (encoder.encode_image(images), encoder.encode_text(tokens))]
    cosines = library(input_ids=tokens, pixel_values=pixels, attention_mask=mask, use_itm_head=False).itm_score
    torch.testing.assert_close(found[0] @ found[1].T, cosines, rtol=0, atol=2e-6)
    tokens[:, 0] = encoder.tokenizer.id_of("[ENC]")
    matching = library(input_ids=tokens, pixel_values=pixels, attention_mask=mask).itm_score
    torch.testing.assert_close(
        encoder.match(encoder.vision_tokens(images), encoder.tokenize(TEXTS))[0], matching, rtol=0, atol=1e-5
    )


class TestReading:
    def test_it_is_the_model_of_transformers(self, folder, library, images):
        encoder = load(folder)
        check_same(encoder, library, images)
        assert encoder.sizes.text_heads == 4 and encoder.sizes.vision_eps == 1e-5  # as its config.json says
        assert encoder.logit_scale.item() == pytest.approx(1 / 0.07, rel=1e-3)
        assert encoder.preprocess.resize == "squash" and encoder.preprocess.interpolation == "bicubic"

    def test_tokens_are_those_of_its_tokenizer(self, folder):
        encoder = load(folder)
        expected = AutoTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", truncation=True, max_length=12)
        assert encoder.tokenize(TEXTS).tolist() == expected["input_ids"]

    def test_a_vocabulary_in_place_of_a_tokenizer(self, folder, fusion_words):
        expected = load(folder).tokenize(TEXTS)
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in fusion_words), encoding="utf-8")
        assert torch.equal(load(folder).tokenize(TEXTS), expected)

    def test_half_precision_and_shards(self, folder, library, images):
        library.half().save_pretrained(folder, max_shard_size="10KB")
        library.float()
        (folder / "model.safetensors").unlink(missing_ok=True)
        assert (folder / "model.safetensors.index.json").is_file()
        encoder = load(folder)
        assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
        check_same(encoder, BlipForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32).eval(), images)

    @torch.no_grad()
    def test_another_image_size(self, folder, library, images):
        encoder = load(folder, image_size=24)
        larger = functional.interpolate(images.float(), (24, 24))
        expected = library.vision_model(larger, interpolate_pos_encoding=True).last_hidden_state
        torch.testing.assert_close(encoder.vision_tokens(larger).tokens, expected, rtol=1e-5, atol=1e-5)
        assert encoder.architecture["resize"]["to"] == 24
        with pytest.raises(CallError, match=r"write e\.g\. image_size=24"):
            load(folder, image_size=25)

    def test_it_is_saved_as_any_other(self, folder, images, tmp_path):
        encoder = load(folder)
        again = load_encoder(f"file:{save_model(encoder, tmp_path / 'saved')}")
        with torch.no_grad():
            assert torch.equal(again.encode_image(images), encoder.encode_image(images))
        assert torch.equal(again.tokenize(TEXTS), encoder.tokenize(TEXTS))
        assert again.sizes == encoder.sizes

    def test_by_its_model_spec(self, folder, images):
        with torch.no_grad():
            found = load_model(f"hf:{folder}").encode_image(images)
            torch.testing.assert_close(found, load(folder).encode_image(images))


class TestWrongFolders:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"architectures": ["BlipForConditionalGeneration"]}, "is a BlipForConditionalGeneration, which cannot"),
            ({"text_config": {"hidden_act": "relu"}}, "the activation 'relu'"),
            ({"vision_config": {"num_attention_heads": 5}}, "has 5 attention heads of 24 channels"),
            ({"text_config": {"vocab_size": 40}}, "has 38 word pieces, but its table of embeddings has 40 rows"),
            ({"text_config": {"num_hidden_layers": "two"}}, "describes no model that can be built"),
            ({"vision_config": {"image_size": [16, 20]}}, "not square"),
            ({"image_text_hidden_size": 9}, r"4 misshapen: vision_proj.weight has shape \(8, 24\), expected \(9, 24\)"),
            ({"vision_config": {"num_hidden_layers": 1}}, "12 unexpected: vision_model.encoder.layers.1"),
        ],
    )
    def test_settings(self, folder, changes, message):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        for key, value in changes.items():
            config[key] = config[key] | value if isinstance(value, dict) else value
        with pytest.raises(CheckpointError, match=message):
            load_blip_retrieval(folder, config)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("tokenizer.json", "has no tokenizer. Expected tokenizer.json or vocab.txt"),
            ("model.safetensors", "model.safetensors"),
            ("preprocessor_config.json", "has no preprocessor_config.json"),
        ],
    )
    def test_missing_files(self, folder, name, message):
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match=message):
            load(folder)

    def test_a_tokenizer_with_other_rules(self, folder, fusion_words):
        path = folder / "tokenizer.json"
        rules = json.loads(path.read_text(encoding="utf-8"))
        rules["normalizer"]["lowercase"] = False
        path.write_text(json.dumps(rules), encoding="utf-8")
        with pytest.raises(CheckpointError, match="does not cut text as the uncased BERT does"):
            load(folder)
        path.write_text("{}", encoding="utf-8")
        with pytest.raises(CheckpointError, match=r"cannot read .*tokenizer\.json"):
            load(folder)


def written(encoder, folder):
    for part in huggingface_blip(encoder):
        part.save_pretrained(folder)
    return folder


class TestWriting:
    @pytest.mark.parametrize("resize", ["squash", "shortest"])
    def test_transformers_reads_it(self, fusion_folder, images, tmp_path, resize):
        encoder = load_encoder(f"{fusion_folder('blip')},resize={resize},mean=0.1/0.2/0.3")
        folder = written(encoder, tmp_path)
        library, told = BlipForImageTextRetrieval.from_pretrained(folder, output_loading_info=True)
        assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        check_same(encoder, library.eval(), images)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        expected = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=12)["input_ids"]
        assert encoder.tokenize(TEXTS).tolist() == expected
        picture = Image.effect_noise((40, 30), 90).convert("RGB")
        pixels = AutoImageProcessor.from_pretrained(folder, use_fast=False)(picture, return_tensors="pt").pixel_values
        own = encoder.preprocess.normalise(evaluation_transform(picture, encoder.preprocess).unsqueeze(0))
        torch.testing.assert_close(own, pixels, rtol=0, atol=0.02)

    def test_it_comes_back_with_its_temperature(self, fusion_folder, images, tmp_path):
        encoder = load_encoder(fusion_folder("blip"))
        again = load(written(encoder, tmp_path))
        assert again.logit_scale.item() == pytest.approx(encoder.logit_scale.item(), rel=1e-6)
        assert again.preprocess == encoder.preprocess and again.sizes == encoder.sizes
        for name, tensor in again.state_dict().items():
            torch.testing.assert_close(tensor, encoder.state_dict()[name])

    def test_by_the_common_way(self, fusion_folder, images, tmp_path):
        encoder = load_encoder(fusion_folder("blip"))
        folder = export_huggingface(encoder, tmp_path / "exported")
        check_same(load_encoder(f"hf:{folder}"), BlipForImageTextRetrieval.from_pretrained(folder).eval(), images)
        with pytest.raises(CallError, match="cannot be written as"):
            export_huggingface(load_encoder(fusion_folder("albef")), tmp_path / "other")
        assert not (tmp_path / "other").exists()

    def test_albef_has_no_class_there(self, fusion_folder):
        with pytest.raises(CapabilityError, match="is an ALBEF, of which transformers has no class"):
            huggingface_blip(load_encoder(fusion_folder("albef")))
