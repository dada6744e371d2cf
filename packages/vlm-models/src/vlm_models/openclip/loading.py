"""From a tag of open_clip or a weight file to the weights in a model."""

import os
from collections.abc import Mapping
from typing import Any, cast

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from vlm_data.errors import CallError
from vlm_models.clip.activation import GELU, QUICK_GELU, activation_classes
from vlm_models.clip.layout import clip_prefix
from vlm_models.errors import CheckpointError, VlmModelsError
from vlm_models.hub import cache_if_unreachable
from vlm_models.memory import require_memory
from vlm_models.weight_files import WeightFile, read_weight_file
from vlm_models.weight_space import State, differences

_BIG_VISION_SUFFIXES = (".npz", ".npy")
_SETTINGS = ("input_resolution", "context_length", "vocab_size")
"""Entries of OpenAI's state dicts that are no weights."""
_POSITION_IDS = "text.transformer.embeddings.position_ids"
"""A buffer that transformers saved until 4.31."""


def download(name: str, tag: str, settings: Mapping[str, Any]) -> str:
    """Return the path of the weight file of a tag: from the local cache, else from the network.

    Args:
        name: the architecture.
        tag: the pretrained tag.
        settings: what open_clip knows about the tag (`open_clip.get_pretrained_cfg`).

    Raises:
        VlmModelsError: if it is neither in the cache nor to be had.
    """
    try:
        with cache_if_unreachable():
            return open_clip.download_pretrained(dict(settings))
    except (OSError, ValueError, RuntimeError) as error:
        raise unavailable(name, f"the weights {tag!r}", error) from error


def load_file(clip: nn.Module, path: str, name: str) -> None:
    """Load a weight file into a model of open_clip, which knows older and foreign names of tensors.

    Read are all formats of `read_weight_file`; the weights may stand under a prefix and beside a classification head,
    as programs save them that fine-tune a model of open_clip.

    Raises:
        CallError: if the file tells another activation than that of the architecture.
        CheckpointError: if the file is damaged or does not fit; missing, unexpected and misshapen keys are listed.
    """
    if path.endswith(_BIG_VISION_SUFFIXES):
        _load_big_vision(clip, path, name)
        return
    file = read_weight_file(path)
    prefix = clip_prefix(file.tensors) or ""
    _check_activation(clip, file, name)
    state = {key.removeprefix(prefix): one for key, one in file.tensors.items() if key.startswith(prefix)}
    fit_state(clip, state, path, name)


def _check_activation(clip: nn.Module, file: WeightFile, name: str) -> None:
    """Raise if a pickled module, or OpenAI's own file, has another activation: every load would succeed."""
    told = activation_classes(file)
    if not told and any(key.endswith("input_resolution") for key in file.tensors):
        told = {QUICK_GELU}
    own = QUICK_GELU if any(isinstance(module, QuickGELU) for module in clip.modules()) else GELU
    if len(told) == 1 and own not in told:
        other = f"{name}-quickgelu" if own == GELU else name.removesuffix("-quickgelu")
        better = f"openclip:{other}/{file.path}" if other in open_clip.list_models() else f"clip:{file.path}"
        raise CallError(
            f"the weights {file.path} were trained with {told.pop()}, but {name} has {own}; every number would be "
            f"wrong. Write {better}."
        )


def fit_state(clip: nn.Module, tensors: State, path: str, name: str) -> None:
    """Copy weights into a model of open_clip as `open_clip.load_checkpoint` does: renamed, embeddings resized.

    Args:
        clip: the model.
        tensors: by the names of OpenAI, open_clip or MobileCLIP.
        path: of the file, for messages.
        name: of the architecture, for messages.

    Raises:
        CheckpointError: if they do not fit; missing, unexpected and misshapen keys are listed.
    """
    state = {key: tensor for key, tensor in tensors.items() if not key.endswith(_SETTINGS)}
    try:
        state = _renamed(clip, state)
    except (LookupError, ValueError, AssertionError, RuntimeError) as error:
        raise _misfit(clip, tensors, path, name) from error
    if differences(clip.state_dict(), state):
        raise _misfit(clip, state, path, name)
    clip.load_state_dict(state, strict=True)


def _renamed(clip: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    state = convert_state_dict(clip, state)
    if "positional_embedding" in state and not hasattr(clip, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for scalar in ("logit_scale", "logit_bias"):  # some are saved with a dimension
        own = getattr(clip, scalar, None)
        if scalar in state and own is not None:
            state[scalar] = state[scalar].reshape(own.shape)
    if "logit_bias" not in state and getattr(clip, "logit_bias", None) is not None:
        state["logit_bias"] = torch.zeros_like(clip.logit_bias)
    state.pop(_POSITION_IDS, None)
    resize_pos_embed(state, clip)
    resize_text_pos_embed(state, clip)
    return state


def _misfit(clip: nn.Module, state: State, path: str, name: str) -> CheckpointError:
    problems = differences(clip.state_dict(), state) or ["its tensors cannot be renamed"]
    return CheckpointError(
        f"the weights {path} do not fit {name}: {'; '.join(problems)}. "
        "Expected the tensors of this architecture; check its name."
    )


def _load_big_vision(clip: nn.Module, path: str, name: str) -> None:
    """Load an archive of arrays of the SigLIP authors, which open_clip reads (without pickles) and renames."""
    require_memory(2 * os.path.getsize(path), f"reading {path}")
    try:
        open_clip.load_checkpoint(cast(open_clip.CLIP, clip), path)
    except Exception as error:  # damaged archives make numpy and open_clip raise nearly anything
        raise CheckpointError(
            f"cannot read weights from {path}: {first_sentence(error)}. Expected a whole archive of arrays of the "
            f"SigLIP authors for {name}; check the architecture, or copy the file again."
        ) from error


def unavailable(name: str, what: str, error: Exception) -> VlmModelsError:
    """Build the error for something that is neither cached nor to be downloaded."""
    return VlmModelsError(
        f"cannot load {what} of {name}: {first_sentence(error)}. "
        "It is neither in the local cache nor could it be downloaded. "
        f"Connect once, or download the weight file elsewhere and pass it as openclip:{name}/FILE."
    )


def first_sentence(error: Exception) -> str:
    """Return the first sentence of an error's message, or its type if it has none.

    Example:
        >>> first_sentence(ValueError("wrong. Try again.")), first_sentence(EOFError())
        ('wrong', 'EOFError')
    """
    text = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return text if len(text) > 3 else f"{type(error).__name__} {text}".strip()
