"""From the tensors of a published ALBEF or BLIP file to those of `FusionEncoder`, strictly in both directions."""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from vlm_models.errors import CheckpointError
from vlm_models.fusion.encoder import FusionEncoder
from vlm_models.fusion.recognition import text_prefix
from vlm_models.weight_space import differences

RESIZE_RULE = "class row kept, grid bicubic, align_corners=False, no antialias"
"""How position tables of both models are resized, for `model.json`; timm and open_clip use antialias and differ."""
POSITIONS = "visual_encoder.pos_embed"
_TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
_DROPPED = re.compile(
    r"(visual_encoder|text_encoder|vision_proj|text_proj)_m\.|(image_queue|text_queue|queue_ptr|idx_queue|ptr_queue)$"
    r"|.*\.embeddings\.position_ids$|text_encoder\.cls\.|text_decoder\."
)
"""Momentum copies, queues, an index table, and the language heads that `fusion_language` reads."""
_VISION = (
    (r"^vision_model\.", "visual_encoder."),
    (r"\.embeddings\.class_embedding$", ".cls_token"),
    (r"\.embeddings\.position_embedding$", ".pos_embed"),
    (r"\.embeddings\.patch_embedding\.", ".patch_embed.proj."),
    (r"\.encoder\.layers\.", ".blocks."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.qkv\.", ".attn.qkv."),
    (r"\.self_attn\.projection\.", ".attn.proj."),
    (r"\.post_layernorm\.", ".norm."),
)


def published_name(name: str, prefix: str, text_layers: int) -> str:
    """Return what a tensor of `FusionEncoder` is called in the files of its authors.

    Args:
        name: of the tensor here.
        prefix: of text layers there, `text_encoder.bert.` or `text_encoder.`.
        text_layers: the fusion layers of ALBEF are counted on from here.

    Example:
        >>> published_name("vision_model.encoder.layers.3.self_attn.projection.bias", "text_encoder.", 12)
        'visual_encoder.blocks.3.attn.proj.bias'
        >>> published_name("fusion_encoder.encoder.layer.0.output.dense.bias", "text_encoder.bert.", 6)
        'text_encoder.bert.encoder.layer.6.output.dense.bias'
    """
    if name.startswith("vision_model."):
        for pattern, replacement in _VISION:
            name = re.sub(pattern, replacement, name)
        return name
    if found := re.match(r"fusion_encoder\.encoder\.layer\.(\d+)\.(.*)", name):
        return f"{prefix}encoder.layer.{int(found[1]) + text_layers}.{found[2]}"
    return re.sub(r"^text_encoder\.", prefix, name)


def load_published(encoder: FusionEncoder, tensors: Mapping[str, Tensor], family: str, path: str) -> None:
    """Copy published weights into an encoder that was built for them.

    Half precision becomes single precision. The position table is resized if the encoder was built for another image
    size. ALBEF adds row 0 of a token-type table to every position: the sum, which is all that reaches the LayerNorm,
    is kept.

    Args:
        encoder: as built.
        tensors: of the file, `module.` and other wrappers removed; not changed.
        family: `albef` or `blip`.
        path: of the file, for messages.

    Raises:
        CheckpointError: lists missing, unexpected and misshapen keys by their published names.
    """
    given = {name: tensor for name, tensor in tensors.items() if not _DROPPED.match(name)}
    if POSITIONS in given:
        given[POSITIONS] = resized_positions(given[POSITIONS].float(), encoder.sizes.grid[0])
    prefix, layers = text_prefix(given), encoder.sizes.text_layers
    names = {name: published_name(name, prefix, layers) for name in encoder.state_dict()}
    types = prefix + _TOKEN_TYPES
    added = {types: torch.empty(2, encoder.sizes.text_width, device="meta")} if family == "albef" else {}
    check_tensors({names[name]: tensor for name, tensor in encoder.state_dict().items()} | added, given, family, path)
    state = {name: given[published].float() for name, published in names.items()}
    if added:
        positions = "text_encoder.embeddings.position_embeddings.weight"
        state[positions] = state[positions] + given[types][0].float()
    encoder.load_state_dict(state, strict=True)


def check_tensors(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], family: str, path: str) -> None:
    """Raise unless a file holds exactly the tensors that are expected, by their published names.

    Raises:
        CheckpointError: lists missing, unexpected and misshapen keys.
    """
    problems = differences(expected, given)
    if problems:
        raise CheckpointError(
            f"the weights of {path} do not fit {family}: {'; '.join(problems)}. "
            f"Expected exactly the tensors of {family.upper()}'s authors; check that the file is whole."
        )


def resized_positions(table: Tensor, side: int) -> Tensor:
    """Return a position table for a grid of `side` x `side` patches, by the rule of both models (`RESIZE_RULE`).

    Args:
        table: (1, 1 + rows * rows, width), the class token first.
        side: rows of the new grid.

    Example:
        >>> resized_positions(torch.ones(1, 17, 2), 5).shape
        torch.Size([1, 26, 2])
    """
    rows = grid_side(table)
    if rows == side:
        return table
    grid = table[:, 1:].unflatten(1, (rows, rows)).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
    return torch.cat((table[:, :1], grid.flatten(2).transpose(1, 2)), dim=1)


def grid_side(table: Tensor) -> int:
    """Return the rows of the square grid of patches that a position table was learned for.

    Raises:
        CheckpointError: if it is no table of a class token and a square.
    """
    patches = table.shape[1] - 1 if table.dim() == 3 else -1
    side = math.isqrt(max(patches, 0))
    if side < 1 or side * side != patches:
        raise CheckpointError(
            f"{POSITIONS} has shape {tuple(table.shape)}; expected (1, 1 + rows * rows, width), "
            "one row for the class token and one for each patch of a square. Take a whole file of ALBEF or BLIP."
        )
    return side
