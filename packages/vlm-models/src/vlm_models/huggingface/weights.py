"""Weights of transformers: read, renamed where they are of an older version, and resized to another image size."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vlm_models.checkpoint import load_state
from vlm_models.errors import CheckpointError
from vlm_models.huggingface.towers import pools_by_attention, takes_patches
from vlm_models.weight_files import read_weight_file

WEIGHT_FILES = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin")
POSITION_RULE = "bicubic, align_corners=False, no antialias (transformers)"
"""How position embeddings are taken to another image size, once, when weights are loaded."""
NAFLEX_RULE = "bilinear, align_corners=False, antialias (NaFlex, at run time)"
"""How SigLIP 2 NaFlex takes them to the shape of every image."""
_POSITIONS = "vision_model.embeddings.position_embedding.weight"
_COUNTERS = re.compile(r"(.*\.)?(position_ids|token_type_ids)")
"""Index tables that older versions saved; they are made anew with the modules."""
_OLD_NAMES = ((".layer.", ".layers."), ("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
"""Parts of names in published files, and what newer versions call them."""


def load_weights(model: nn.Module, folder: Path, spec: str, *, resize: bool = False) -> None:
    """Read the weights in a folder into a model, strictly; half precision becomes single.

    Args:
        model: of `build_modules`.
        folder: in Hugging Face layout.
        spec: of the model, for messages.
        resize: whether position embeddings of another image size are resized, by the rule of transformers.

    Raises:
        CheckpointError: if files are missing or damaged, or tensors are missing, unexpected or misshapen.
    """
    path = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if path is None:
        raise _no_weights(folder, spec)
    state = fit_names(read_weight_file(path).tensors, model.state_dict())
    if resize and _POSITIONS in state and not takes_patches(model):
        prefix = 0 if pools_by_attention(model) else 1
        length = len(model.state_dict()[_POSITIONS])
        if len(state[_POSITIONS]) != length:
            state[_POSITIONS] = resized_positions(state[_POSITIONS].float(), length, prefix)
    load_state(model, state, spec)


def _no_weights(folder: Path, spec: str) -> CheckpointError:
    others = sorted(
        path.name for path in folder.iterdir() if path.suffix in (".h5", ".msgpack", ".bin", ".onnx", ".json")
    )
    others = [name for name in others if "model" in name]
    seen = f" (only {', '.join(others[:4])})" if others else ""
    return CheckpointError(
        f"{spec} has no weight file{seen}. Expected {', '.join(WEIGHT_FILES)}; download it from where the other files "
        "are from, or write it with `model.save_pretrained` of transformers."
    )


def fit_names(state: Mapping[str, Tensor], expected: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return weights under the names of this version of transformers, without index tables of older ones.

    Only a name that is unknown is changed, and only to one that is expected and not there.

    Example:
        >>> import torch
        >>> found = {"layer.0.LayerNorm.gamma": torch.ones(1), "embeddings.position_ids": torch.zeros(1)}
        >>> list(fit_names(found, {"layer.0.LayerNorm.weight": None}))
        ['layer.0.LayerNorm.weight']
    """
    fitted = {}
    for name, tensor in state.items():
        if name not in expected and _COUNTERS.fullmatch(name):
            continue
        fitted[name if name in expected else _new_name(name, state, expected)] = tensor
    return fitted


def _new_name(name: str, state: Mapping[str, Tensor], expected: Mapping[str, Any]) -> str:
    candidate = name
    for old, new in _OLD_NAMES:
        candidate = candidate.replace(old, new)
        if candidate in expected and candidate not in state:
            return candidate
    return name


def resized_positions(table: Float[Tensor, "old width"], length: int, prefix: int) -> Float[Tensor, "new width"]:
    """Return a table of position embeddings for another square grid, the way transformers does it at run time.

    Rows of prefix tokens are kept; the grid is resampled by bicubic interpolation without antialiasing, unlike in
    open_clip and timm.

    Args:
        table: one row per position.
        length: rows wanted, prefix included.
        prefix: rows before the grid.

    Raises:
        CheckpointError: if a grid is not square.

    Example:
        >>> import torch
        >>> resized_positions(torch.ones(5, 2), 10, 1).shape
        torch.Size([10, 2])
    """
    old, new = math.isqrt(len(table) - prefix), math.isqrt(length - prefix)
    if old * old != len(table) - prefix or new * new != length - prefix:
        raise CheckpointError(
            f"the image tower has {len(table) - prefix} position embeddings of patches; expected a square number, or "
            f"{length - prefix} as config.json says. Download config.json and weights again."
        )
    grid = table[prefix:].T.reshape(1, -1, old, old)
    resized = functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([table[:prefix], resized.flatten(2)[0].T])
