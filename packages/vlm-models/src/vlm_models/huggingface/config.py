"""`config.json` of a dual encoder of transformers: its kind, what of it matters, and the modules it describes."""

import contextlib
import copy
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedConfig
from transformers.initialization import no_init_weights

from vlm_models.errors import CheckpointError, reason
from vlm_models.hub import quiet_transformers
from vlm_models.huggingface.towers import pools_by_attention

CONFIG_FILE = "config.json"
_TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")
_STARTS = ("initializer_factor", "initializer_range", "logit_scale_init_value")
"""What weights start from in training from nothing; here they are always loaded."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A model type of transformers that is a dual encoder, and what its files do not tell.

    Attributes:
        name: what people call its models.
        text_length: tokens that texts were cut to in training, where the text tower would take more.
        lower_case: whether it was trained on lower-case text, though its tokenizer may keep capitals.
    """

    name: str
    text_length: int | None = None
    lower_case: bool = False


KINDS = {
    "clip": Kind("CLIP, MetaCLIP"),
    "metaclip_2": Kind("MetaCLIP 2"),
    "siglip": Kind("SigLIP, SigLIP 2", lower_case=True),  # big_vision lowers the text of both
    "siglip2": Kind("SigLIP 2 NaFlex", lower_case=True),
    "chinese_clip": Kind("Chinese-CLIP", text_length=52),  # `tokenize` of cn_clip
    "altclip": Kind("AltCLIP", text_length=77),  # Chen et al. 2022, taught by CLIP's text tower
}
"""Model types that can be loaded, by the name that `config.json` gives them."""


def read_config(folder: Path, spec: str) -> dict[str, Any]:
    """Read `config.json`.

    Raises:
        CheckpointError: if it is missing, damaged, or names no model type.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        if (folder / "open_clip_config.json").is_file():
            raise CheckpointError(
                f"{folder} holds a model of open_clip, not of transformers: it has open_clip_config.json and no "
                f"{CONFIG_FILE}. Expected the Hugging Face layout; write openclip:ARCH/FILE with its weight file."
            )
        raise CheckpointError(
            f"{spec} has no {CONFIG_FILE}. Expected a folder in Hugging Face layout: {CONFIG_FILE}, model.safetensors, "
            "tokenizer files and preprocessor_config.json; `hf download org/name --local-dir DIR` makes one."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}. Expected JSON; copy or download it again.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise CheckpointError(f"{path} names no model_type. Expected one of {', '.join(KINDS)}; download it again.")
    return config


def essentials(raw: Mapping[str, Any], spec: str) -> dict[str, Any]:
    """Return what modules are built from: fields of the configuration class, with defaults, without what is general.

    Settings of generation, of outputs or of a training program do not change the modules; they would only make two
    equal models look different.

    Raises:
        CheckpointError: if the type is none of `KINDS`, or values make no sense.

    Example:
        >>> essentials({"model_type": "clip", "projection_dim": 64}, "hf:here")["projection_dim"]
        64
    """
    kind = raw["model_type"]
    if kind not in KINDS:
        raise CheckpointError(
            f"{spec} is a model of type {kind!r}{_classes(raw)}. Expected a dual encoder with an image and a text "
            f"tower: {'; '.join(f'{name} ({known.name})' for name, known in KINDS.items())}. Take another model."
        )
    return _own_fields(_configuration(raw, spec))


def _classes(raw: Mapping[str, Any]) -> str:
    names = raw.get("architectures")
    return f" ({', '.join(map(str, names))})" if isinstance(names, list) and names else ""


def _configuration(values: Mapping[str, Any], spec: str) -> PreTrainedConfig:
    with _explaining(spec):
        return CONFIG_MAPPING[values["model_type"]].from_dict(copy.deepcopy(dict(values)))


@contextlib.contextmanager
def _explaining(spec: str) -> Iterator[None]:
    """Turn what impossible values lead to into an error."""
    try:
        with quiet_transformers():
            yield
    except Exception as error:  # checks of types, of divisibility and of constructors of modules raise nearly anything
        raise CheckpointError(
            f"{CONFIG_FILE} of {spec} describes no model that can be built: {reason(error)}. "
            "Expected the file that was published with the weights; download it again."
        ) from error


def _own_fields(config: PreTrainedConfig) -> dict[str, Any]:
    general = PreTrainedConfig().to_dict().keys() - {*_TOKEN_IDS, "model_type"}
    found = {}
    for name in type(config)().to_dict():
        if name in general or name in _STARTS or not hasattr(config, name):
            continue
        value = getattr(config, name)
        found[name] = _own_fields(value) if isinstance(value, PreTrainedConfig) else value
    return {"model_type": config.model_type, **found}


def image_size(described: Mapping[str, Any]) -> int:
    """Return the side of the images a described model takes, in pixels; for NaFlex the square among its shapes.

    Example:
        >>> image_size({"model_type": "siglip2", "vision_config": {"num_patches": 256, "patch_size": 16}})
        256
    """
    vision = described["vision_config"]
    if described["model_type"] == "siglip2":
        return math.isqrt(vision["num_patches"]) * vision["patch_size"]
    return vision["image_size"]


def build_modules(described: Mapping[str, Any], spec: str) -> nn.Module:
    """Build the model that `essentials` describes, with uninitialised weights: every one must be loaded afterwards.

    Drawing random weights of a ViT-B/32 takes eight seconds on one core, and none of them would be used. Attention is
    PyTorch's fused one, which `vlm_models.attention` knows how to replace.

    Raises:
        CheckpointError: if values make no sense, or the image tower has no pooled output.
    """
    config = _configuration(described, spec)
    with _explaining(spec), no_init_weights(), torch.random.fork_rng(devices=[]):  # some parameters are drawn anyway
        model = AutoModel.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    if pools_by_attention(model) and not hasattr(model.vision_model, "head"):
        raise CheckpointError(
            f"the image tower of {spec} has no pooling head (vision_use_head is false), so images have no feature. "
            "Expected a dual encoder; take the checkpoint that this tower was cut from."
        )
    return model.eval()
