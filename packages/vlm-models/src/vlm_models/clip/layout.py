"""Where the tensors of a CLIP are in a file of OpenAI, or of the programs that fine-tune it."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vlm_data.errors import CallError, listing
from vlm_models.errors import CheckpointError
from vlm_models.fusion.recognition import published_family

_MARK = "visual.conv1.weight"
"""A tensor that every CLIP of this layout has, transformer or ResNet."""
_TEXT_MARKS = ("token_embedding.weight", "positional_embedding", "ln_final.weight", "text_projection", "logit_scale")
"""What is left of the text tower where programs delete its layers once the head is built."""
_HEAD = "classification_head."
_NO_WEIGHTS = re.compile(r"(^|\.)(input_resolution|context_length|vocab_size|attn_mask)$")
"""Entries of OpenAI's state dicts that are settings, and the causal mask, which some programs save too."""


@dataclasses.dataclass(frozen=True)
class ClipParts:
    """The tensors of a file, sorted.

    Attributes:
        prefix: what stood before the names of the CLIP, such as `image_encoder.model.`.
        state: of the CLIP, by OpenAI's names.
        head_weight: (c, d) of a trained classification head, None without one.
        head_bias: (c,) of it.
        settings: `input_resolution` and the like, which OpenAI's state dicts hold.
    """

    prefix: str
    state: dict[str, Tensor]
    head_weight: Tensor | None = None
    head_bias: Tensor | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def has_text_tower(self) -> bool:
        """Whether the layers of the text tower are there."""
        return any(name.startswith("transformer.") for name in self.state)


def clip_prefix(names: Mapping[str, Any]) -> str | None:
    """Return what stands before the names of a CLIP, None if there is none.

    Raises:
        CheckpointError: if there are several, such as a model and its teacher.

    Example:
        >>> clip_prefix({"image_encoder.model.visual.conv1.weight": 0, "classification_head.weight": 0})
        'image_encoder.model.'
    """
    found = sorted(name.removesuffix(_MARK) for name in names if name == _MARK or name.endswith(f".{_MARK}"))
    if len(found) > 1:
        raise CheckpointError(
            f"the file holds {len(found)} models, under {listing(found)}. Expected one; save the one you mean alone."
        )
    return found[0] if found else None


def clip_parts(tensors: Mapping[str, Tensor], source: str) -> ClipParts:
    """Sort the tensors of a file.

    Accepted are OpenAI's names, with any prefix; and beside them the head of a classifier as WiSE-FT, FLYP, CaRot and
    model soups save it.

    Raises:
        CallError: if the file belongs to another family; the spec to write is named.
        CheckpointError: if a tower is missing, or there is something besides towers and head.
    """
    prefix = clip_prefix(tensors)
    if prefix is None:
        raise _no_clip(tensors, source)
    heads = [name.removesuffix("weight") for name in tensors if re.search(rf"(^|\.){re.escape(_HEAD)}weight$", name)]
    head = heads[0] if heads else _HEAD
    state, others = dict[str, Tensor](), heads[1:]
    for name, tensor in tensors.items():
        if _NO_WEIGHTS.search(name) or name in (f"{head}weight", f"{head}bias"):
            continue
        if name.startswith(prefix):
            state[name.removeprefix(prefix)] = tensor
        else:
            others.append(name)
    if others:
        raise CheckpointError(
            f"{source} holds more than a CLIP and a head: {listing(others)}. Expected the tensors of one model; save "
            "it without the others, or check that the file belongs to the clip: family."
        )
    missing = [name for name in _TEXT_MARKS if name not in state]
    if missing:
        raise CheckpointError(
            f"{source} lacks {', '.join(missing)}: without a text tower there is nothing to compare images with. "
            "Expected both towers of a CLIP; take the file from before they were taken apart, or, if its names are "
            "open_clip's of another architecture, write openclip:ARCHITECTURE/FILE."
        )
    return ClipParts(
        prefix, state, tensors.get(f"{head}weight"), tensors.get(f"{head}bias"), _settings(tensors, prefix)
    )


def _settings(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, int]:
    found = tensors.get(f"{prefix}input_resolution")
    return {"input_resolution": int(found)} if found is not None and found.numel() == 1 else {}


def _no_clip(tensors: Mapping[str, Tensor], source: str) -> Exception:
    if any(name.endswith("token_embedding.weight") for name in tensors):
        return CheckpointError(
            f"{source} lacks {_MARK}: it holds a text tower without an image tower. Expected both towers of a CLIP."
        )
    family = published_family(tensors)
    if family in ("albef", "blip"):
        return CallError(f"{source} holds weights of the family {family}, not a CLIP. Write {family}:{source}.")
    if family == "hf":
        return CallError(
            f"{source} holds weights in the layout of transformers. Write hf:FOLDER with the folder it lies in."
        )
    return CheckpointError(
        f"{source} is no CLIP of OpenAI's layout: there is no {_MARK}, but {listing(sorted(tensors), 3)}. Expected "
        "OpenAI's names of tensors; of another architecture of open_clip write openclip:ARCHITECTURE/FILE."
    )
