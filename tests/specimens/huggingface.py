"""Tiny random models of every class, in the layout that Hugging Face publishes: config, weights, tokenizer, images."""

import string

import torch
from open_clip.tokenizer import bytes_to_unicode
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    BertTokenizer,
    ChineseCLIPImageProcessor,
    CLIPImageProcessor,
    CLIPTokenizer,
    GemmaTokenizer,
    Siglip2ImageProcessor,
    Siglip2Tokenizer,
    SiglipImageProcessor,
    XLMRobertaTokenizer,
)
from transformers.utils import logging

KINDS = ("clip", "clip-early", "metaclip_2", "siglip", "siglip2", "chinese_clip", "altclip")
"""Model types; `clip-early` names 2 as its end token, as the files of the first years do."""
MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
SIZE, PATCH = 32, 8
TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TEXT, "hidden_size": 24, "num_attention_heads": 3, "image_size": SIZE, "patch_size": PATCH}
WORDS = ("photo", "of", "cat", "dog", "的", "猫")


def _pieces(prefix):
    """Every letter and a few words, at the start of a word and inside."""
    letters = [*string.ascii_lowercase, *string.ascii_uppercase, *string.digits, ".", "'"]
    return list(dict.fromkeys([*(prefix + word for word in (*letters, *WORDS)), *letters, *WORDS]))


def _clip_tokenizer():
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    merges = [("c", "a"), ("ca", "t</w>")]
    return CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=merges)


def _sentence_pieces():
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    return XLMRobertaTokenizer(vocab=[*special, *((piece, -float(len(piece) < 3)) for piece in _pieces("▁"))])


def _gemma_tokenizer(cls):
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *_pieces("")]
    vocab = {token: number for number, token in enumerate(tokens)}
    return cls(vocab=vocab, merges=[], add_bos_token=False, add_eos_token=True)


def _bert_tokenizer():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_pieces(""), *("##" + piece for piece in _pieces(""))]
    return BertTokenizer(vocab={token: number for number, token in enumerate(dict.fromkeys(tokens))})


def _parts(kind):
    """Return tokenizer, image processor, and settings of text and vision tower."""
    square, crop = {"height": SIZE, "width": SIZE}, {"shortest_edge": SIZE}
    look = {"image_mean": MEAN, "image_std": STD}
    if kind.startswith("clip"):
        tokenizer = _clip_tokenizer()
        end = 2 if kind == "clip-early" else tokenizer.eos_token_id
        text = {"max_position_embeddings": 16, "eos_token_id": end, "bos_token_id": tokenizer.bos_token_id}
        return tokenizer, CLIPImageProcessor(size=crop, crop_size=square, **look), text, {}
    if kind == "metaclip_2":
        text = {"max_position_embeddings": 16, "eos_token_id": 2, "bos_token_id": 0}
        return _sentence_pieces(), CLIPImageProcessor(size=crop, crop_size=square, **look), text, {}
    if kind == "siglip":
        text = {"max_position_embeddings": 14, "projection_size": 24}
        return _gemma_tokenizer(GemmaTokenizer), SiglipImageProcessor(size=square, resample=2, **look), text, {}
    if kind == "siglip2":
        text = {"max_position_embeddings": 14, "projection_size": 24}
        processor = Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=16, **look)
        return _gemma_tokenizer(Siglip2Tokenizer), processor, text, {"num_patches": 16}
    if kind == "chinese_clip":
        processor = ChineseCLIPImageProcessor(size=square, crop_size=square, **look)
        return _bert_tokenizer(), processor, {"max_position_embeddings": 64}, {}
    text = {"max_position_embeddings": 90, "project_dim": 20}
    return _sentence_pieces(), CLIPImageProcessor(size=crop, crop_size=square, **look), text, {}


def random_model(config, seed=3, attention="sdpa"):
    """Build the library's model with weights large enough to matter, biases and norms among them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(config, attn_implementation=attention, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            if name in ("logit_scale", "logit_bias"):
                parameter.data.copy_(0.3 * noise + (2.0 if name == "logit_scale" else -3.0))
            elif "norm" in name.lower() and name.endswith("weight"):
                parameter.data.copy_(1 + 0.2 * noise)
            else:
                parameter.data.copy_(noise * (0.3 if parameter.dim() < 2 else 0.25))
    return model.eval()


def write_folder(folder, kind, seed=3, **save):
    """Write a model the way its publisher would, and return the library's own model."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    tokenizer, processor, text, vision = _parts(kind)
    base = kind.partition("-")[0]
    sizes = {key: value for key, value in VISION.items() if base != "siglip2" or key != "image_size"}
    config = CONFIG_MAPPING[base](
        text_config={**TEXT, "vocab_size": len(tokenizer), **text}, vision_config={**sizes, **vision}, projection_dim=12
    )
    model = random_model(config, seed)
    model.save_pretrained(folder, **save)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    logging.set_verbosity(before)
    return model
