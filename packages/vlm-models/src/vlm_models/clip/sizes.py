"""The architecture of a CLIP, read off the shapes of its tensors."""

import math
import re
from collections.abc import Mapping
from typing import Any

import open_clip
from torch import Tensor

from vlm_data.errors import CallError
from vlm_models.errors import CheckpointError
from vlm_models.spec import check_patches, positive_integer

_HEAD_WIDTH = 64
"""Channels of an attention head in every model of OpenAI; no tensor tells it."""
_RESNET_STRIDE = 32
"""Pixels per cell of the last feature map of a ResNet."""
_ATTENTION = "transformer.resblocks.0.attn.num_heads"


def clip_config(
    state: Mapping[str, Tensor], source: str, options: Mapping[str, str], heads: Mapping[str, int]
) -> dict[str, Any]:
    """Return the constructor arguments of `open_clip.CLIP`: `embed_dim`, `vision_cfg` and `text_cfg`.

    Attention heads have 64 channels, as in all of OpenAI's models, unless an option `vision_heads` or `text_heads` or
    the file itself says otherwise.

    Args:
        state: tensors by OpenAI's names.
        source: the file, for messages.
        options: of the spec; `image_size`, `vision_heads` and `text_heads` are read.
        heads: attention heads that a pickled module tells, by the name of the attribute.

    Raises:
        CallError: for an impossible option, or an architecture that has heads of another width.
        CheckpointError: if a tensor that tells a size is missing or misshapen.
    """
    for name in ("visual.conv1.weight", "text_projection", "positional_embedding", "token_embedding.weight"):
        if state[name].dim() != (4 if name.startswith("visual") else 2):
            raise CheckpointError(f"{source} has {name} of shape {tuple(state[name].shape)}; it is no CLIP.")
    is_transformer = "visual.proj" in state or "visual.class_embedding" in state
    vision = _transformer(state, source, options, heads) if is_transformer else _resnet(state, source, options)
    context_length, text_width = state["positional_embedding"].shape
    asked = positive_integer(options, "text_heads") or heads.get(_ATTENTION)
    return {
        "embed_dim": state["text_projection"].shape[1],
        "vision_cfg": vision,
        "text_cfg": {
            "context_length": context_length,
            "vocab_size": len(state["token_embedding.weight"]),
            "width": text_width,
            "heads": asked or _heads(text_width, source, "text_heads"),
            "layers": _count(state, r"transformer\.resblocks\.(\d+)\."),
        },
    }


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({found[1] for name in state if (found := re.match(pattern, name))})


def _heads(width: int, source: str, option: str) -> int:
    if width % _HEAD_WIDTH:
        raise CallError(
            f"{source} has a tower of width {width}, which does not fall into attention heads of {_HEAD_WIDTH} "
            f"channels, as those of OpenAI's models do. No tensor tells how many there are; write {option}=NUMBER."
        )
    return width // _HEAD_WIDTH


def _side(state: Mapping[str, Tensor], name: str, source: str) -> int:
    """Return the side of the grid that a table of position embeddings is for, one row of which is another token's."""
    if name not in state or state[name].dim() != 2:
        raise CheckpointError(f"{source} lacks {name}. Expected a whole image tower; copy the file again.")
    side = math.isqrt(len(state[name]) - 1)
    if side * side != len(state[name]) - 1 or not side:
        raise CheckpointError(
            f"{source} has {name} of {len(state[name])} rows. Expected one more than a square: a class token and a "
            "square grid of patches."
        )
    return side


def _transformer(
    state: Mapping[str, Tensor], source: str, options: Mapping[str, str], heads: Mapping[str, int]
) -> dict[str, Any]:
    width, patch = state["visual.conv1.weight"].shape[0], state["visual.conv1.weight"].shape[-1]
    learned = _side(state, "visual.positional_embedding", source) * patch
    size = positive_integer(options, "image_size") or learned
    check_patches(size, patch, source)
    layers = _count(state, r"visual\.transformer\.resblocks\.(\d+)\.")
    asked = positive_integer(options, "vision_heads") or heads.get(f"visual.{_ATTENTION}")
    if not asked:
        _refuse_other_heads(width, layers, patch, source)
    count = asked or _heads(width, source, "vision_heads")
    if width % count:
        raise CallError(f"vision_heads={count} does not divide the width of {source}, {width}.")
    return {
        "layers": layers,
        "width": width,
        "head_width": width // count,
        "patch_size": patch,
        "image_size": size,
    }


def _refuse_other_heads(width: int, layers: int, patch: int, source: str) -> None:
    """Raise if models of these sizes were published with heads that are not 64 wide: any other load would succeed."""
    for name in open_clip.list_models():
        vision = (open_clip.get_model_config(name) or {}).get("vision_cfg", {})
        sizes = tuple(vision.get(key) for key in ("width", "layers", "patch_size"))
        if sizes == (width, layers, patch) and vision.get("head_width", _HEAD_WIDTH) != _HEAD_WIDTH:
            raise CallError(
                f"{source} has the sizes of {name}, whose attention heads are {vision['head_width']} wide; those of "
                f"OpenAI's layout are {_HEAD_WIDTH}, and no tensor tells. Write openclip:{name}/{source}, or "
                f"vision_heads={width // _HEAD_WIDTH} if it is a model of your own."
            )


def _resnet(state: Mapping[str, Tensor], source: str, options: Mapping[str, str]) -> dict[str, Any]:
    counts = [_count(state, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)]
    if not all(counts) or "visual.layer1.0.conv1.weight" not in state:
        raise CheckpointError(
            f"{source} has neither visual.proj, as vision transformers of CLIP have, nor the four stages of a ResNet "
            f"(blocks found: {counts}). Expected a whole image tower; copy the file again."
        )
    size = _side(state, "visual.attnpool.positional_embedding", source) * _RESNET_STRIDE
    asked = positive_integer(options, "image_size")
    if asked not in (None, size):
        raise CallError(
            f"{source} is a ResNet that reads images of {size} pixels; the table of its attention pooling has no other "
            f"size, and open_clip has no rule to resize it. Leave image_size={asked} out."
        )
    return {
        "layers": counts,
        "width": state["visual.layer1.0.conv1.weight"].shape[0],
        "head_width": _HEAD_WIDTH,
        "patch_size": None,
        "image_size": size,
    }
