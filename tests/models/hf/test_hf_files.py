"""Folders in Hugging Face layout: formats and ages of files, and everything that may be wrong with them."""

import importlib
import importlib.util
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertConfig, BertModel, CLIPConfig, CLIPVisionModel
from transformers.utils import logging

from vlm_data.errors import CallError
from vlm_models import load_encoder, save_model
from vlm_models.errors import CheckpointError, VlmModelsError
from vlm_models.huggingface.config import essentials

TEXTS = ["a photo of a cat.", "Dog"]


@pytest.fixture
def copied(tmp_path, published):
    """A function that copies a published folder, to be damaged."""
    return lambda kind="clip": shutil.copytree(published(kind)[0], tmp_path / kind)


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture
def quiet():
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(before)


def edit(path, **changes):
    """Change entries of a JSON file; None removes one."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def edit_text_tower(folder, **changes):
    """Change what config.json says of the text tower."""
    config = folder / "config.json"
    edit(config, text_config={**json.loads(config.read_text())["text_config"], **changes})


def edit_weights(folder, **changes):
    """Change tensors of the weight file; None removes one."""
    state = {**load_file(folder / "model.safetensors"), **changes}
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, folder / "model.safetensors")


def refused(folder, error=CheckpointError, options=""):
    """Return the message of the error; it is one paragraph that names the model."""
    with pytest.raises(error) as caught:
        load_encoder(f"hf:{folder}{options}")
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message and len(message) < 900
    return message


@torch.no_grad()
def same_features(folder, library, images, tolerance=1e-6):
    encoder = load_encoder(f"hf:{folder}")
    found = encoder.encode_image(images), encoder.encode_text(encoder.tokenize(TEXTS))
    pixels = encoder.preprocess.normalise(images)
    mask = (encoder.tokenize(TEXTS) != encoder.tokens.padding).long()
    mask = {"attention_mask": mask} if hasattr(library.text_model, "roberta") else {}
    expected = library.get_image_features(pixels), library.get_text_features(encoder.tokenize(TEXTS), **mask)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs.pooler_output, atol=tolerance, rtol=tolerance)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


class TestWeights:
    def test_shards(self, tmp_path, published, copied, images, quiet):
        folder = copied()
        (folder / "model.safetensors").unlink()
        library = published("clip")[1]
        library.save_pretrained(folder, max_shard_size="20KB")
        shards = sorted(path.name for path in folder.glob("model-*.safetensors"))
        assert len(shards) > 2
        same_features(folder, library, images)
        (folder / shards[1]).unlink()
        assert shards[1] in refused(folder)

    def test_half_precision_becomes_single(self, published, copied, images):
        folder, library = copied(), published("clip")[1]
        half = {name: tensor.half() for name, tensor in library.state_dict().items()}
        save_file(half, folder / "model.safetensors")
        edit(folder / "config.json", dtype="float16")
        same_features(folder, library, images, tolerance=1e-2)
        encoder = load_encoder(f"hf:{folder}")
        assert torch.equal(encoder.model.visual_projection.weight, half["visual_projection.weight"].float())

    def test_a_file_of_pytorch(self, published, copied, images):
        folder, library = copied(), published("clip")[1]
        (folder / "model.safetensors").unlink()
        torch.save(library.state_dict(), folder / "pytorch_model.bin")
        same_features(folder, library, images)

    def test_names_of_older_versions(self, published, copied, images):
        folder, library = copied("altclip"), published("altclip")[1]
        state = load_file(folder / "model.safetensors")
        assert any(".encoder.layer." in name for name in state)  # the published name, which the modules have no more
        old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in state.items()}
        old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): tensor for name, tensor in old.items()}
        counters = {"text_model.roberta.embeddings.position_ids": torch.arange(90)[None]}
        counters |= {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
        counters |= {"text_model.roberta.embeddings.token_type_ids": torch.zeros(1, 90, dtype=torch.int64)}
        save_file(old | counters, folder / "model.safetensors")
        same_features(folder, library, images)

    def test_one_tensor_too_few_too_many_or_of_another_shape(self, copied):
        folder = copied()
        edit_weights(
            folder,
            **{
                "text_projection.weight": None,
                "vision_model.surplus": torch.zeros(1),
                "visual_projection.weight": torch.zeros(12, 25),
            },
        )
        message = refused(folder)
        assert "1 missing: text_projection.weight; 1 unexpected: vision_model.surplus" in message
        assert "visual_projection.weight has shape (12, 25), expected (12, 24)" in message

    def test_a_missing_tower(self, copied):
        folder = copied()
        state = load_file(folder / "model.safetensors")
        edit_weights(folder, **{name: None for name in state if name.startswith("text_model.")})
        assert "missing: text_model." in refused(folder)

    def test_a_position_table_of_another_size_is_not_resized_unasked(self, copied):
        folder = copied()
        edit_weights(folder, **{"vision_model.embeddings.position_embedding.weight": torch.zeros(26, 24)})
        assert "position_embedding.weight has shape (26, 24), expected (17, 24)" in refused(folder)

    def test_a_cut_file(self, copied):
        folder = copied()
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert "cannot read weights" in refused(folder)

    def test_no_file(self, copied):
        folder = copied()
        (folder / "model.safetensors").rename(folder / "flax_model.msgpack")
        message = refused(folder)
        assert "has no weight file (only flax_model.msgpack)" in message and "model.safetensors" in message


class TestConfig:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "has no config.json"),
            ("{", "cannot read"),
            ("[]", "names no model_type"),
            ("{}", "names no model_type"),
            ('{"model_type": "clip_vision_model"}', "is a model of type 'clip_vision_model'"),
            ('{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}', "'gpt2' (GPT2LMHeadModel)"),
            ('{"model_type": "clip", "text_config": {"hidden_size": 15}}', "describes no model that can be built"),
            ('{"model_type": "clip", "text_config": {"hidden_size": "many"}}', "describes no model that can be built"),
            ('{"model_type": "clip", "vision_config": {"hidden_act": "spline"}}', "describes no model that can be"),
            ('{"model_type": "siglip", "vision_config": {"vision_use_head": false}}', "has no pooling head"),
        ],
    )
    def test_what_cannot_be_built(self, copied, content, said):
        folder = copied()
        (folder / "config.json").unlink() if content is None else (folder / "config.json").write_text(content)
        message = refused(folder)
        assert said in message and "Expected" in message

    def test_models_that_are_none(self, tmp_path, quiet):
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        BertModel(BertConfig(vocab_size=10, **sizes)).save_pretrained(tmp_path / "bert")
        message = refused(tmp_path / "bert")
        assert "'bert' (BertModel)" in message and "chinese_clip (Chinese-CLIP)" in message
        vision = CLIPConfig(vision_config={**sizes, "image_size": 16, "patch_size": 8}).vision_config
        CLIPVisionModel(vision).save_pretrained(tmp_path / "tower")
        assert "'clip_vision_model' (CLIPVisionModel)" in refused(tmp_path / "tower")

    def test_a_folder_of_open_clip(self, tmp_path):
        (tmp_path / "open_clip_config.json").write_text("{}")
        assert "write openclip:ARCH/FILE" in refused(tmp_path)

    def test_code_in_the_folder_is_not_run(self, copied, images, published):
        folder = copied()
        mark = folder / "was_here"
        (folder / "code.py").write_text(f"open({str(mark)!r}, 'w')\nclass Model: ...\nclass Tokens: ...\n")
        references = {"AutoConfig": "code.Model", "AutoModel": "code.Model", "AutoTokenizer": ["code.Tokens", None]}
        edit(folder / "config.json", auto_map=references)
        edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Tokens", None]})
        edit(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "code.Model"})
        same_features(folder, published("clip")[1], images)
        assert not mark.exists()

    def test_only_what_modules_are_built_from_is_kept(self, published, copied, images):
        """The way OpenAI's own folders look, with settings of generation and labels in every part."""
        folder = copied()
        general = {"id2label": {"0": "LABEL_0"}, "num_beams": 4, "top_k": 50, "return_dict": False, "torchscript": True}
        general |= {"output_attentions": True, "torch_dtype": None, "_name_or_path": "elsewhere"}
        config = json.loads((folder / "config.json").read_text())
        parts = {part: {**config[part], **general} for part in ("text_config", "vision_config")}
        named = {f"{part}_dict": values for part, values in parts.items()}
        plain = essentials(config, "hf:here")
        (folder / "config.json").write_text(json.dumps({**config, **general, **parts, **named}))
        same_features(folder, published("clip")[1], images)
        assert load_encoder(f"hf:{folder}").architecture["config"] == plain
        assert not {"id2label", "return_dict", "output_attentions"} & (plain.keys() | plain["text_config"].keys())


class TestTokenizer:
    def test_the_plain_files_of_a_vocabulary(self, published, copied, images):
        """Chinese-CLIP is published with `vocab.txt`, early files of CLIP with `vocab.json` and `merges.txt`."""
        folder = copied("chinese_clip")
        expected = load_encoder(f"hf:{folder}").tokenize(TEXTS)
        vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.get)))
        (folder / "tokenizer.json").unlink(), (folder / "tokenizer_config.json").unlink()
        assert torch.equal(load_encoder(f"hf:{folder}").tokenize(TEXTS), expected)
        folder = copied("clip")
        expected = load_encoder(f"hf:{folder}").tokenize(TEXTS)
        model = json.loads((folder / "tokenizer.json").read_text())["model"]
        (folder / "tokenizer.json").unlink(), (folder / "tokenizer_config.json").unlink()
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
        assert "has no merges.txt" in refused(folder)
        merges = "".join(f"{first} {second}\n" for first, second in model["merges"])
        (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}")
        assert torch.equal(load_encoder(f"hf:{folder}").tokenize(TEXTS), expected)

    def test_the_model_of_sentencepiece(self, tmp_path, copied):
        """The first SigLIP is published with `spiece.model` alone, which only SentencePiece reads."""
        folder = copied("siglip")
        (folder / "tokenizer.json").unlink()
        words = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>", "do_lower_case": True}
        told = json.dumps({"tokenizer_class": "SiglipTokenizer", "model_max_length": 64, **words})
        (folder / "tokenizer_config.json").write_text(told)
        (folder / "spiece.model").write_bytes(b"")
        if importlib.util.find_spec("sentencepiece") is None:
            assert "`pip install sentencepiece protobuf`" in refused(folder)
            return
        trainer = importlib.import_module("sentencepiece").SentencePieceTrainer
        texts = ["a photo of a cat", "the dog and the digit seven", "a small picture"] * 20
        sizes = {"vocab_size": 25, "unk_id": 0, "pad_id": 1, "eos_id": 2, "bos_id": -1, "minloglevel": 2}
        trainer.train(sentence_iterator=iter(texts), model_prefix=str(folder / "spiece"), **sizes)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert type(tokenizer).__name__ == "SiglipTokenizer"
        texts = ["A cat!", "The dog and the digit seven, or another one"]
        expected = tokenizer(texts, padding="max_length", truncation=True, max_length=14)["input_ids"]
        encoder = load_encoder(f"hf:{folder}")
        assert encoder.tokenize(texts).tolist() == expected
        save_model(encoder, tmp_path / "saved")
        shutil.rmtree(folder)
        assert load_encoder(f"file:{tmp_path / 'saved'}").tokenize(texts).tolist() == expected

    def test_no_files(self, copied):
        folder = copied()
        (folder / "tokenizer.json").unlink()
        message = refused(folder)
        assert "has no tokenizer: none of tokenizer.json" in message and "download them" in message

    @pytest.mark.parametrize("content", ["{", "{}", ""])
    def test_damaged_files(self, copied, content):
        folder = copied()
        (folder / "tokenizer.json").write_text(content)
        assert "the tokenizer of" in refused(folder)

    def test_that_of_another_model(self, published, copied):
        folder = copied()
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(published("chinese_clip")[0] / name, folder / name)
        assert "has no end token, but its text tower is read at the id 515" in refused(folder)

    def test_another_end_token_in_the_config(self, copied):
        folder = copied()
        edit_text_tower(folder, eos_token_id=7)
        assert "has the end token 515, but its text tower is read at the id 7" in refused(folder)

    def test_an_early_file_whose_end_token_is_not_the_largest_id(self, copied):
        folder = copied("clip-early")
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        vocabulary = tokenizer["model"]["vocab"]
        tokenizer["model"]["vocab"] = {token: len(vocabulary) - 1 - number for token, number in vocabulary.items()}
        swap = {"<|endoftext|>": 0, "<|startoftext|>": 1}
        for added in tokenizer["added_tokens"]:
            added["id"] = swap[added["content"]]
        tokenizer["post_processor"] |= {"sep": ["<|endoftext|>", 0], "cls": ["<|startoftext|>", 1]}
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        assert "read at the largest id" in refused(folder)

    def test_another_padding_than_the_text_tower_knows(self, copied):
        folder = copied("chinese_clip")
        edit_text_tower(folder, pad_token_id=9)
        assert "pads with the id 0, but its text tower takes 9 for padding" in refused(folder)

    def test_no_padding(self, copied):
        folder = copied("siglip")
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        edit(folder / "tokenizer_config.json", pad_token=None, tokenizer_class="TokenizersBackend")
        (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "padding": None}))
        assert "has no padding token" in refused(folder)

    def test_ids_without_a_row(self, copied):
        folder = copied("siglip")
        edit_text_tower(folder, vocab_size=20)
        edit_weights(folder, **{"text_model.embeddings.token_embedding.weight": torch.zeros(20, 16)})
        encoder = load_encoder(f"hf:{folder}")
        with pytest.raises(CheckpointError, match=r"gives the id \d+, but its table of token embeddings has 20 rows"):
            encoder.tokenize(["a photo of a cat"])


class TestSpecs:
    def test_the_licence_of_the_card(self, tmp_path, copied):
        folder = copied()
        assert load_encoder(f"hf:{folder}").licence == ""
        (folder / "README.md").write_text("---\ntags:\n- vision\nlicense: other\nlicense_name: house-1.0 # ours\n---\n")
        encoder = load_encoder(f"hf:{folder}")
        assert encoder.licence == "house-1.0"
        save_model(encoder, tmp_path / "saved")
        assert load_encoder(f"file:{tmp_path / 'saved'}").licence == "house-1.0"

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ("hf:", "lacks its source"),
            ("hf:nowhere", "nowhere does not exist"),
            ("hf:/no/such/folder", "/no/such/folder does not exist"),
            ("hf:org/name,activation=gelu", "unknown option of hf: 'activation'"),
        ],
    )
    def test_a_wrong_one(self, spec, said):
        with pytest.raises(CallError) as caught:
            load_encoder(spec)
        assert said in str(caught.value)

    def test_a_file_in_place_of_its_folder(self, published):
        with pytest.raises(CallError, match=r"is a file\. Expected a folder in Hugging Face layout"):
            load_encoder(f"hf:{published('clip')[0]}/model.safetensors")

    def test_a_saved_model_that_lost_its_tokenizer(self, tmp_path, published):
        save_model(load_encoder(f"hf:{published('clip')[0]}"), tmp_path)
        shutil.rmtree(tmp_path / "tokenizer")
        with pytest.raises(VlmModelsError, match="has no tokenizer: none of"):
            load_encoder(f"file:{tmp_path}")

    def test_what_is_saved_is_read_by_transformers_too(self, tmp_path, published):
        encoder = load_encoder(f"hf:{published('siglip')[0]}")
        save_model(encoder, tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer", config=encoder.model.config)
        assert tokenizer("a cat")["input_ids"] == encoder.tokens.tokenizer("a cat")["input_ids"]
