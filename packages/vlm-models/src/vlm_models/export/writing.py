"""Writing models for transformers and open_clip, which then give the same features as the house does."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_data.files import replacing_folder, write_text
from vlm_models.catalog import load_encoder
from vlm_models.checkpoint import write_weights
from vlm_models.errors import VlmModelsError, reason
from vlm_models.export.huggingface import PROBES, HuggingFaceParts, huggingface_parts
from vlm_models.export.open_clip import open_clip_parts
from vlm_models.hub import quiet_transformers
from vlm_models.interface import DualEncoder, evaluating

_TOLERANCE = 1e-4
"""Of unit features; two libraries sum in other orders, which makes a tenth of it."""
_CONFIG = "config.json"
_OPEN_CLIP_CONFIG, _OPEN_CLIP_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def export_huggingface(encoder: DualEncoder, directory: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a folder in Hugging Face layout: config.json, model.safetensors, tokenizer, preprocessor_config.json.

    A vision transformer of open_clip becomes a `CLIPModel`. What was written is loaded again and compared on random
    images and a few texts before it appears under its name.

    Args:
        encoder: loaded by `hf:`, a CLIP of open_clip's layout (`tiny`, `openclip:`, `clip:`), or a BLIP.
        directory: made; must not hold anything yet.
        overwrite: whether an earlier export is replaced.

    Returns:
        The folder, which `hf:DIR` and `AutoModel.from_pretrained` take.

    Raises:
        CallError: if transformers has no class that computes the same, or the folder is in use.
        VlmModelsError: if what was written gives other features.
        VlmError: if the folder cannot be written; nothing is left there.

    Example:
        >>> import tempfile
        >>> folder = export_huggingface(load_encoder("tiny"), tempfile.mkdtemp())
        >>> load_encoder(f"hf:{folder}").embedding_dim
        64
    """
    encoder = _exact(encoder)
    parts = huggingface_parts(encoder)
    _check_place(Path(directory), _CONFIG, overwrite)
    with replacing_folder(directory) as place:
        _save(parts, place)
        again = load_encoder(f"hf:{place}")
        if again.preprocess != encoder.preprocess:
            raise VlmModelsError(f"the export prepares images as {again.preprocess}, not as {encoder.preprocess}.")
        _compare(encoder, again.encode_image, again.encode_text(again.tokenize(PROBES)), again.logit_scale)
    return Path(directory)


def export_open_clip(encoder: DualEncoder, directory: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a folder that open_clip reads as `local-dir:DIR`: configuration, weights, a tokenizer where it needs one.

    A `CLIPModel` of transformers becomes an `open_clip.CLIP`. What was written is loaded again and compared on random
    images and a few texts before it appears under its name.

    Args:
        encoder: of open_clip's layout (`tiny`, `openclip:`, `clip:`), or a CLIP or MetaCLIP 2 loaded by `hf:`.
        directory: made; must not hold anything yet.
        overwrite: whether an earlier export is replaced.

    Returns:
        The folder.

    Raises:
        CallError: if open_clip cannot be told to build the same, or the folder is in use.
        VlmModelsError: if what was written gives other features.
        VlmError: if the folder cannot be written; nothing is left there.

    Example:
        >>> import tempfile
        >>> folder = export_open_clip(load_encoder("tiny"), tempfile.mkdtemp())
        >>> open_clip.create_model(f"local-dir:{folder}").visual.image_size
        (32, 32)
    """
    encoder = _exact(encoder)
    parts = open_clip_parts(encoder)
    _check_place(Path(directory), _OPEN_CLIP_CONFIG, overwrite)
    with replacing_folder(directory) as place:
        write_weights(parts.state, place / _OPEN_CLIP_WEIGHTS)
        write_text(place / _OPEN_CLIP_CONFIG, json.dumps(parts.config, indent=2) + "\n")
        with quiet_transformers():
            if parts.tokenizer is not None:
                parts.tokenizer.save_pretrained(place)
            clip: Any = open_clip.create_model(f"local-dir:{place}").eval()
            tokens = open_clip.get_tokenizer(f"local-dir:{place}")(list(PROBES))
        _compare(encoder, clip.encode_image, clip.encode_text(tokens), clip.logit_scale.exp().squeeze())
    return Path(directory)


LAYOUTS = {"huggingface": export_huggingface, "open-clip": export_open_clip}
"""What can be written, by the name of its layout."""


def _exact(encoder: DualEncoder) -> DualEncoder:
    """Return an encoder in single precision on the CPU: itself, or a copy."""
    place, precision = next(encoder.parameters()).device.type, {parameter.dtype for parameter in encoder.parameters()}
    if place == "cpu" and precision == {torch.float32}:
        return encoder
    return copy.deepcopy(encoder).to("cpu", torch.float32)


def _save(parts: HuggingFaceParts, place: Path) -> None:
    """Let transformers write; what safetensors says of a full disk is no OSError, and becomes one."""
    try:
        with quiet_transformers():
            for part in (parts.model, parts.tokenizer, parts.processor):
                part.save_pretrained(place)
    except SafetensorError as error:
        raise OSError(reason(error)) from error


def _check_place(target: Path, config: str, overwrite: bool) -> None:
    """Raise unless a folder is new, or holds an earlier export that may be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir():
        raise CallError(f"{target} is a file. Expected a folder to write into; choose another name.")
    if not overwrite:
        raise CallError(f"{target} is not empty. Expected a new folder; choose another, or give --overwrite.")
    if not (target / config).is_file():
        raise CallError(f"{target} holds no earlier export ({config}), so it is not replaced; choose another folder.")


@torch.no_grad()
def _compare(
    encoder: DualEncoder,
    encode_image: Callable[[Tensor], Tensor],
    texts: Float[Tensor, "n d"],
    scale: Float[Tensor, ""],
) -> None:
    """Raise unless a library gives the same features as the encoder, on random pixels and `PROBES`."""
    size = encoder.preprocess.size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with evaluating(encoder):
        own = encoder.encode_image(pixels), encoder.encode_text(encoder.tokenize(PROBES))
    gaps = []
    for ours, theirs in zip(own, (encode_image(pixels), texts), strict=True):
        gaps.append(float((functional.normalize(ours, dim=-1) - functional.normalize(theirs, dim=-1)).abs().max()))
    gaps.append(abs(float(encoder.logit_scale) / float(scale) - 1))
    if not max(gaps) <= _TOLERANCE:  # NaN is not
        raise VlmModelsError(
            f"what was written of {encoder.spec} gives other features: image features differ by {gaps[0]:.2g}, text "
            f"features by {gaps[1]:.2g}, the logit scale by {gaps[2]:.2g} of itself; expected {_TOLERANCE:g} at most. "
            "Nothing was left. The architecture has a part that the other library lacks; please report it."
        )
