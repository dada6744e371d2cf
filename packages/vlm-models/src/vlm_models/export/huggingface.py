"""What a folder in Hugging Face layout is written from: model, tokenizer and image processor of transformers."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import torch
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn
from open_clip.transformer import QuickGELU
from torch import nn
from transformers import (
    ChineseCLIPImageProcessor,
    CLIPImageProcessor,
    CLIPTokenizer,
    Siglip2ImageProcessor,
    SiglipImageProcessor,
)

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_models.export.blip import huggingface_blip
from vlm_models.export.renaming import to_transformers
from vlm_models.fusion.encoder import FusionEncoder
from vlm_models.huggingface.config import build_modules, essentials
from vlm_models.huggingface.encoder import HfEncoder
from vlm_models.huggingface.images import INTERPOLATIONS
from vlm_models.interface import DualEncoder
from vlm_models.openclip.encoder import OpenClipEncoder
from vlm_models.weight_space import differences

_SPECIAL = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
_PROCESSORS = {
    "siglip": SiglipImageProcessor,
    "siglip2": Siglip2ImageProcessor,
    "chinese_clip": ChineseCLIPImageProcessor,
}
PROBES = ("a photo of a cat", "The 7 Dogs.", "it's " * 60)
"""Texts that two tokenizers are compared by: words, capitals, digits, signs, and one that is too long."""


@dataclasses.dataclass(frozen=True)
class HuggingFaceParts:
    """What `save_pretrained` writes a folder from.

    Attributes:
        model: of transformers.
        tokenizer: of transformers.
        processor: of images.
    """

    model: Any
    tokenizer: Any
    processor: Any


def huggingface_parts(encoder: DualEncoder) -> HuggingFaceParts:
    """Return an encoder as objects of transformers; one of open_clip becomes a `CLIPModel`, a BLIP stays one.

    Raises:
        CallError: if transformers has no class that computes the same.
    """
    if isinstance(encoder, HfEncoder):
        kind, tokenizer = encoder.model.config.model_type, copy.deepcopy(encoder.tokens.tokenizer)
        tokenizer.model_max_length = encoder.tokens.length  # its users then cut texts where the house does
        return HuggingFaceParts(encoder.model, tokenizer, _processor(encoder, kind))
    if isinstance(encoder, FusionEncoder) and not encoder.sizes.fusion_layers:  # of ALBEF there is no class
        return HuggingFaceParts(*huggingface_blip(encoder))
    if not isinstance(encoder, OpenClipEncoder) or "text" not in encoder.capabilities:
        raise _no_layout(encoder, "it is no CLIP with both towers")
    tokenizer = byte_pairs(encoder)
    if tokenizer is None:
        raise _no_layout(encoder, "its tokenizer is not that of CLIP")
    model = build_modules(_clip_config(encoder, tokenizer), encoder.spec)
    state = to_transformers(encoder.clip.state_dict())
    problems = differences(model.state_dict(), state)
    if problems:
        raise _no_layout(encoder, f"it has other parts: {'; '.join(problems)}")
    model.load_state_dict(state)
    return HuggingFaceParts(model, clip_tokenizer(tokenizer), _processor(encoder, "clip"))


def _no_layout(encoder: DualEncoder, why: str) -> CallError:
    return CallError(
        f"{encoder.spec} cannot be written as a CLIPModel of transformers: {why}. Expected a CLIP with a vision "
        "transformer, or a model that was loaded by hf:. Export models of open_clip with --layout open-clip."
    )


def _clip_config(encoder: OpenClipEncoder, tokenizer: SimpleTokenizer) -> dict[str, Any]:
    """Read the configuration of a `CLIPModel` off the modules of open_clip."""
    clip = encoder.clip
    visual, text = clip.visual, cast(Any, getattr(clip, "text", clip))
    if not all(hasattr(part, "transformer") and hasattr(part.transformer, "resblocks") for part in (visual, text)):
        raise _no_layout(encoder, "its towers are no transformers of open_clip's own")
    vision = {
        "image_size": encoder.preprocess.size,
        "patch_size": visual.conv1.kernel_size[0],
        **_transformer_config(encoder, visual.transformer),
    }
    words = {
        "vocab_size": text.token_embedding.num_embeddings,
        "max_position_embeddings": len(text.positional_embedding),
        "bos_token_id": tokenizer.sot_token_id,
        "eos_token_id": tokenizer.eot_token_id,
        "pad_token_id": tokenizer.eot_token_id,
        **_transformer_config(encoder, text.transformer),
    }
    config = {"text_config": words, "vision_config": vision, "projection_dim": encoder.embedding_dim}
    return essentials({"model_type": "clip", **config}, encoder.spec)


def _transformer_config(encoder: OpenClipEncoder, transformer: Any) -> dict[str, Any]:
    block = transformer.resblocks[0]
    mlp = getattr(block, "mlp", None)
    if not isinstance(getattr(mlp, "gelu", None), nn.Module) or not hasattr(mlp, "c_fc"):
        raise _no_layout(encoder, "its blocks are not those of CLIP")
    activation = cast(Any, mlp).gelu
    names = {"none": "gelu", "tanh": "gelu_pytorch_tanh"}
    return {
        "hidden_size": cast(Any, mlp).c_fc.in_features,
        "intermediate_size": cast(Any, mlp).c_fc.out_features,
        "num_hidden_layers": len(transformer.resblocks),
        "num_attention_heads": block.attn.num_heads,
        "layer_norm_eps": block.ln_1.eps,
        "hidden_act": "quick_gelu" if isinstance(activation, QuickGELU) else names[activation.approximate],
    }


def byte_pairs(encoder: OpenClipEncoder) -> SimpleTokenizer | None:
    """Return the tokenizer of CLIP that an encoder has, or one that gives the same ids; None if it has another."""
    if isinstance(encoder.tokenizer, SimpleTokenizer):
        lowers = encoder.tokenizer.clean_fn is get_clean_fn("lower") and encoder.tokenizer.reduction_fn is None
        return encoder.tokenizer if lowers else None
    found = encoder.tokenize(PROBES)
    standard = SimpleTokenizer(context_length=found.shape[1])
    return standard if torch.equal(found, standard(list(PROBES))) else None


def clip_tokenizer(tokenizer: SimpleTokenizer) -> CLIPTokenizer:
    """Return the tokenizer of transformers with the same vocabulary and merges.

    It pads with the end token, as OpenAI's folders do, where open_clip pads with 0; neither is seen by the text tower.
    Of marked-up or mis-decoded text it makes other ids: open_clip repairs such text first, transformers does not.
    """
    vocabulary = {_SPECIAL.get(token, token): number for token, number in tokenizer.encoder.items()}
    merges: Any = list(tokenizer.bpe_ranks)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=tokenizer.context_length)


def _processor(encoder: DualEncoder, kind: str) -> Any:
    preprocess: Preprocess = encoder.preprocess
    numbers: Mapping[str, int] = {name: number for number, name in INTERPOLATIONS.items()}
    look = {
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
        "resample": numbers[preprocess.interpolation],
    }
    square = {"height": preprocess.size, "width": preprocess.size}
    build: Any = _PROCESSORS.get(kind, CLIPImageProcessor)
    if kind == "siglip2":
        patch = cast(HfEncoder, encoder).model.config.vision_config.patch_size
        return build(patch_size=patch, max_num_patches=(preprocess.size // patch) ** 2, **look)
    if preprocess.resize == "squash":
        return build(size=square, do_center_crop=False, **look)
    return build(size={"shortest_edge": preprocess.shorter_side}, crop_size=square, do_center_crop=True, **look)
