"""How large a published ALBEF or BLIP is: read off its tensors, and what no tensor tells from elsewhere."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vlm_data.errors import CallError
from vlm_models.errors import CheckpointError
from vlm_models.fusion.architecture import FusionSizes
from vlm_models.fusion.recognition import text_prefix
from vlm_models.fusion.weights import POSITIONS, grid_side
from vlm_models.spec import check_patches, positive_integer

OPTIONS = ("image_size", "text_length", "vision_heads", "text_heads")
"""What may follow the file in a spec of either family."""
SETTINGS_FILE = "config.json"
_TEXT_LENGTH = {"albef": 30, "blip": 35}
"""Ids per text in both authors' retrieval."""
TEMPERATURE_RANGE = {"albef": None, "blip": (0.001, 0.5)}
"""Where the learned temperature is kept; None = anywhere."""
_HEADS = {768: 12, 1024: 16}
"""Attention heads of the published widths: 64 channels each."""


class _Shapes:
    """The shapes of a file's tensors, asked for by name."""

    def __init__(self, tensors: Mapping[str, Tensor], family: str, source: str) -> None:
        self.tensors, self.family, self.source = tensors, family, source

    def of(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Return a shape.

        Raises:
            CheckpointError: if the tensor is missing or has other dimensions.
        """
        found = self.tensors.get(name)
        if found is not None and found.dim() == dimensions:
            return tuple(found.shape)
        state = f"lacks {name}" if found is None else f"has {name} of shape {tuple(found.shape)}"
        raise CheckpointError(
            f"{self.source} {state}; expected it with {dimensions} dimensions. "
            f"Take a whole file of {self.family.upper()}, or copy it again."
        )

    def layers(self, pattern: str) -> list[int]:
        """Return the numbers of all layers whose tensors match, ascending."""
        return sorted({int(found[1]) for name in self.tensors if (found := re.match(pattern, name))})

    def layer_count(self, pattern: str) -> int:
        """Return how many layers there are.

        Raises:
            CheckpointError: if there are none, or their numbers have a gap.
        """
        numbers = self.layers(pattern)
        if not numbers or numbers != list(range(len(numbers))):
            raise CheckpointError(
                f"{self.source} has the layers {numbers} of {pattern}; expected 0, 1, 2 and so on. Take a whole file."
            )
        return len(numbers)


def read_sizes(
    tensors: Mapping[str, Tensor], family: str, source: str, options: Mapping[str, str], decoder: str = ""
) -> FusionSizes:
    """Return the sizes of a published model.

    Args:
        tensors: of the file.
        family: `albef` or `blip`.
        source: path of the file; a `config.json` beside it may tell attention heads.
        options: of the spec, `OPTIONS`.
        decoder: what stands before the names of a decoder's layers, if they are meant; `embedding_dim` is then 0.

    Raises:
        CallError: for an impossible option, or heads that nothing tells.
        CheckpointError: if a tensor that tells a size is missing or misshapen.
    """
    shapes = _Shapes(tensors, family, source)
    prefix = decoder or text_prefix(tensors)
    vision_width, _, patch_size, _ = shapes.of("visual_encoder.patch_embed.proj.weight", 4)
    vocabulary_size, text_width = shapes.of(f"{prefix}embeddings.word_embeddings.weight", 2)
    positions, _ = shapes.of(f"{prefix}embeddings.position_embeddings.weight", 2)
    shapes.of(POSITIONS, 3)
    layers = shapes.layer_count(rf"{re.escape(prefix)}encoder\.layer\.(\d+)\.")
    first_fusion = min(shapes.layers(rf"{re.escape(prefix)}encoder\.layer\.(\d+)\.crossattention\."), default=layers)
    asked = positive_integer(options, "image_size")
    check_patches(asked or patch_size, patch_size, source)
    heads = _told_heads(Path(source).parent / SETTINGS_FILE)
    return FusionSizes(
        image_size=asked or grid_side(tensors[POSITIONS]) * patch_size,
        patch_size=patch_size,
        vision_width=vision_width,
        vision_layers=shapes.layer_count(r"visual_encoder\.blocks\.(\d+)\."),
        vision_heads=_heads("vision_heads", vision_width, source, options, heads),
        vision_mlp_width=shapes.of("visual_encoder.blocks.0.mlp.fc1.weight", 2)[0],
        text_width=text_width,
        text_layers=first_fusion if family == "albef" else layers,
        fusion_layers=layers - first_fusion if family == "albef" else 0,
        text_heads=_heads("text_heads", text_width, source, options, heads),
        text_mlp_width=shapes.of(f"{prefix}encoder.layer.0.intermediate.dense.weight", 2)[0],
        vocabulary_size=vocabulary_size,
        positions=positions,
        embedding_dim=0 if decoder else shapes.of("vision_proj.weight", 2)[0],
        text_length=text_length(options, family, positions),
        temperature_range=TEMPERATURE_RANGE[family],
    )


def text_length(options: Mapping[str, str], family: str, positions: int) -> int:
    """Return the ids per text: the option, else 30 for ALBEF and 35 for BLIP, as far as there are positions.

    Raises:
        CallError: if the option exceeds the table of positions, or leaves no room for a word.

    Example:
        >>> text_length({}, "albef", 512), text_length({"text_length": "64"}, "blip", 512)
        (30, 64)
    """
    asked = positive_integer(options, "text_length")
    if asked is not None and not 3 <= asked <= positions:
        raise CallError(
            f"the option text_length={asked} is impossible for this model; expected a number from 3 to {positions}, "
            "the length of its table of positions."
        )
    return asked or min(_TEXT_LENGTH[family], positions)


def _told_heads(settings: Path) -> dict[str, int]:
    """Return the heads that a `config.json` tells, nothing if there is none or it tells of other things."""
    try:
        found = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    values = found if isinstance(found, dict) else {}
    return {name: values[name] for name in ("vision_heads", "text_heads") if type(values.get(name)) is int}


def _heads(name: str, width: int, source: str, options: Mapping[str, str], told: Mapping[str, int]) -> int:
    heads = positive_integer(options, name) or told.get(name) or _HEADS.get(width)
    if heads is None:
        raise CallError(
            f"nothing tells how many attention heads of {source} share its width of {width}; no tensor depends on it, "
            f"and published models are {' and '.join(map(str, _HEADS))} wide. "
            f"Add ,{name}=NUMBER to the model spec, or put a {SETTINGS_FILE} with {name} beside the file."
        )
    if heads < 1 or width % heads:
        raise CallError(
            f"{name}={heads} does not divide the width {width} of {source}; expected a divisor. Correct {name}."
        )
    return heads
