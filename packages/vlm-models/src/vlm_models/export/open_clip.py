"""What a folder that open_clip reads as `local-dir:` is written from: state, configuration and tokenizer."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import open_clip
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor

from vlm_data.errors import CallError
from vlm_models.export.huggingface import byte_pairs, clip_tokenizer
from vlm_models.export.renaming import to_open_clip
from vlm_models.huggingface.encoder import HfEncoder
from vlm_models.interface import DualEncoder
from vlm_models.openclip.encoder import OpenClipEncoder

_LOCAL = "of this folder"
"""Stands where open_clip looks for the name of a tokenizer; of a folder it takes the files that lie in it."""


@dataclasses.dataclass(frozen=True)
class OpenClipParts:
    """What a folder is written from.

    Attributes:
        state: weights by open_clip's names.
        config: content of `open_clip_config.json`.
        tokenizer: of transformers, to be written beside; None where open_clip takes its own.
    """

    state: Mapping[str, Tensor]
    config: Mapping[str, Any]
    tokenizer: Any = None


def open_clip_parts(encoder: DualEncoder) -> OpenClipParts:
    """Return an encoder as open_clip writes it; a `CLIPModel` of transformers becomes an `open_clip.CLIP`.

    Raises:
        CallError: if open_clip cannot be told to build the same.
    """
    if encoder.preprocess.interpolation == "nearest":
        raise _no_layout(encoder, "open_clip resizes images by bicubic or bilinear interpolation only")
    if encoder.preprocess.resize_side is not None:
        raise _no_layout(encoder, "open_clip cuts out no less than the shorter side that it resizes images to")
    if isinstance(encoder, HfEncoder):
        state, model, tokenizer = _of_transformers(encoder)
    elif isinstance(encoder, OpenClipEncoder) and "text" in encoder.capabilities:
        state, model, tokenizer = encoder.clip.state_dict(), _own_config(encoder), _tokenizer_files(encoder)
    else:
        raise _no_layout(encoder, "it is no CLIP with both towers")
    if tokenizer is not None:
        model["text_cfg"]["hf_tokenizer_name"] = _LOCAL
    look = {
        "mean": list(encoder.preprocess.mean),
        "std": list(encoder.preprocess.std),
        "interpolation": encoder.preprocess.interpolation,
        "resize_mode": encoder.preprocess.resize,
    }
    return OpenClipParts(state, {"model_cfg": model, "preprocess_cfg": look}, tokenizer)


def _no_layout(encoder: DualEncoder, why: str) -> CallError:
    return CallError(
        f"{encoder.spec} cannot be written for open_clip: {why}. Expected a model of open_clip, or a CLIP of "
        "transformers. Export other models that were loaded by hf: with --layout huggingface."
    )


def _own_config(encoder: OpenClipEncoder) -> dict[str, Any]:
    """Return the configuration that an architecture of open_clip was built from."""
    told = encoder.architecture
    if "name" in told:
        config = open_clip.get_model_config(told["name"]) or {}
    else:
        parts = told.get("config", told)
        config = {key: copy.deepcopy(parts[key]) for key in ("embed_dim", "vision_cfg", "text_cfg")}
    if told.get("quick_gelu") or told.get("activation") == "quickgelu":
        config["quick_gelu"] = True
    config["vision_cfg"]["image_size"] = encoder.preprocess.size
    return config


def _tokenizer_files(encoder: OpenClipEncoder) -> Any:
    if isinstance(encoder.tokenizer, HFTokenizer):
        return encoder.tokenizer.tokenizer
    tokenizer = byte_pairs(encoder)
    if tokenizer is None:
        raise _no_layout(encoder, "its tokenizer is of a kind that open_clip takes no files for")
    return None if tokenizer.encoder == SimpleTokenizer().encoder else clip_tokenizer(tokenizer)


def _of_transformers(encoder: HfEncoder) -> tuple[dict[str, Tensor], dict[str, Any], Any]:
    config = encoder.model.config
    text, vision = config.text_config, config.vision_config
    acts = {text.hidden_act, vision.hidden_act}
    if config.model_type not in ("clip", "metaclip_2") or len(acts) != 1 or not acts <= {"gelu", "quick_gelu"}:
        raise _no_layout(encoder, f"it is a {type(encoder.model).__name__} with {' and '.join(sorted(acts))}")
    words = {
        "context_length": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "heads": text.num_attention_heads,
        **_tower(text),
    }
    if config.model_type == "metaclip_2":  # whose end token is not its largest id
        words |= {"pool_type": "eos", "eos_id": text.eos_token_id}
    images = {
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "head_width": vision.hidden_size // vision.num_attention_heads,
        **_tower(vision),
    }
    model = {"embed_dim": encoder.embedding_dim, "vision_cfg": images, "text_cfg": words}
    return (
        to_open_clip(encoder.model.state_dict()),
        model | {"quick_gelu": acts == {"quick_gelu"}},
        encoder.tokens.tokenizer,
    )


def _tower(config: Any) -> dict[str, Any]:
    return {
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "mlp_ratio": config.intermediate_size / config.hidden_size,
        "norm_kwargs": {"eps": config.layer_norm_eps},
    }
