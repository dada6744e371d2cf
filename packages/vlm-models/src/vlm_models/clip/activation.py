"""Which activation the weights of a CLIP were trained with: no tensor tells, and with the wrong one all is wrong."""

import logging
from collections.abc import Mapping

import open_clip
import torch
from torch import Tensor

from vlm_data.errors import CallError, unknown_name
from vlm_models.clip.layout import ClipParts
from vlm_models.weight_files import WeightFile

QUICK_GELU, GELU = "quickgelu", "gelu"
_LOG = logging.getLogger(__name__)
_HEADED_PREFIXES = ("model.", "image_encoder.model.")
"""Under which WiSE-FT, FLYP, CaRot (`image_encoder.model.`) and model soups (`model.`) save a CLIP beside its head."""


def find_activation(file: WeightFile, parts: ClipParts, asked: str | None) -> tuple[str, str]:
    """Return `quickgelu` or `gelu`, and how it was found out.

    In this order: what the spec says; the class of the activation in a pickled or scripted module; the metadata of a
    safetensors file; marks of OpenAI's own files (the entry `input_resolution`, a SHA-256 they publish, half precision
    in linear maps); names of tensors as the programs of the WiSE-FT family save them, all of which start from OpenAI's
    models. OpenAI's models have QuickGELU, `x sigmoid(1.702 x)`.

    Args:
        file: what was read.
        parts: its tensors, sorted.
        asked: value of the option `activation`, None if it was not given.

    Raises:
        CallError: if nothing tells, the option is none of the two, or it contradicts the module in the file.
    """
    if asked is not None and asked not in (QUICK_GELU, GELU):
        raise unknown_name("activation", asked, (QUICK_GELU, GELU))
    classes = activation_classes(file)
    if asked and classes and asked not in classes:
        raise CallError(
            f"activation={asked} contradicts {file.path}: the modules in it have {' and '.join(sorted(classes))}. "
            "Leave the option out."
        )
    if asked:
        return asked, "option of the spec"
    if len(classes) == 1:
        return classes.pop(), "class of the module in the file"
    return _from_metadata(file.facts) or _from_marks(file, parts) or _untold(file, parts)


def activation_classes(file: WeightFile) -> set[str]:
    """Return the activations among the modules of a pickled or scripted model; empty for a state dict."""
    kinds = {"QuickGELU": QUICK_GELU, "GELU": GELU}
    return {kinds[last] for name in file.classes.values() if (last := name.rpartition(".")[2]) in kinds}


def _from_metadata(facts: Mapping[str, object]) -> tuple[str, str] | None:
    told = facts.get("activation")
    return (str(told), "metadata of the file") if told in (QUICK_GELU, GELU) else None


def _from_marks(file: WeightFile, parts: ClipParts) -> tuple[str, str] | None:
    if "input_resolution" in parts.settings:
        return QUICK_GELU, "OpenAI's entry input_resolution"
    if _is_half(parts.state):
        if not _is_single(parts.state, "ln_final.weight"):
            _LOG.warning(
                "%s does not say which activation it was trained with. Its linear maps are in half precision, as "
                "OpenAI publishes them, so QuickGELU is used; write activation=gelu if it is not theirs",
                file.path,
            )
        return QUICK_GELU, "half precision, as OpenAI publishes its weights"
    if parts.prefix in _HEADED_PREFIXES and parts.head_weight is not None:
        return QUICK_GELU, "saved by a program of the WiSE-FT family, which starts from OpenAI's models"
    if file.sha256 in published_hashes():
        return QUICK_GELU, "SHA-256 that OpenAI publishes"
    return None


def _is_half(state: Mapping[str, Tensor]) -> bool:
    names = ("visual.conv1.weight", "text_projection")
    return all(state[name].dtype == torch.float16 for name in names)


def _is_single(state: Mapping[str, Tensor], name: str) -> bool:
    return state[name].dtype == torch.float32


def published_hashes() -> set[str]:
    """Return the hashes in the addresses of OpenAI's files: `.../models/SHA256/ViT-B-32.pt`.

    Example:
        >>> len(published_hashes())
        9
    """
    names = open_clip.list_pretrained_models_by_tag("openai")
    addresses = ((open_clip.get_pretrained_cfg(name, "openai") or {}).get("url", "") for name in names)
    return {parts[-2] for address in addresses if len(parts := address.split("/")) > 1}


def _untold(file: WeightFile, parts: ClipParts) -> tuple[str, str]:
    if not any(".mlp." in name for name in parts.state):
        return QUICK_GELU, "no layer of it has one"
    spec = f"clip:{file.path},activation"
    raise CallError(
        f"{file.path} does not say which activation it was trained with, and with the wrong one every number is wrong. "
        f"Expected OpenAI's own file, a pickled module, or to be told: write {spec}={QUICK_GELU} for weights of OpenAI "
        f"and those fine-tuned from them, {spec}={GELU} for LAION, DataComp and most others."
    )
