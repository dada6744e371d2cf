"""The attention by which a tower pools an image, restricted to parts of it, in modules of any library.

The last block of a tower with a class token is given one more copy of that token per region. A copy sees itself, as the
class token does, and of the patches only those of its region; nothing sees a copy. So a region is pooled by the weights
that pool the image, image and regions come out of one pass, and the whole image as a region gives the image feature.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlm_models.region_batch import RegionBatch

_SCORES = 4
"""Axes of attention probabilities: images, heads, queries, keys."""


@dataclasses.dataclass(frozen=True)
class LastBlock:
    """The last block of a tower whose class token becomes the image feature.

    Attributes:
        module: takes tokens (n, tokens, width), the class token first.
        grid: rows and columns of patches, the last tokens.
        mask: name of its argument for what is added to attention scores; None where it computes probabilities itself
            and hands them to its module `self_attn.dropout`, as that of BLIP and ALBEF does.
        heads: number of heads where the mask must have one per image and head, (n heads, queries, keys); None where it
            is (n, 1, queries, keys).
    """

    module: nn.Module
    grid: tuple[int, int]
    mask: str | None = "attn_mask"
    heads: int | None = None


@contextlib.contextmanager
def region_tokens(block: LastBlock, regions: RegionBatch) -> Iterator[list[Float[Tensor, "k width"]]]:
    """Collect the class token of every region after the last block, in each pass of the tower while the block runs.

    What the tower itself computes stays as it is.

    Args:
        block: of the tower.
        regions: of the images of the pass, at least one.

    Yields:
        One tensor per pass.
    """
    found: list[Tensor] = []
    lengths: list[int] = []

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Tensor], dict[str, Any]]:
        tokens = args[0]
        slots, most = regions.slots(len(tokens))
        lengths.append(tokens.shape[1])
        mask = _visibility(regions, block.grid, tokens, slots, most)
        if block.mask is None:
            hooks.callback(_reweighted(module, mask).remove)
        else:
            per_head = mask if block.heads is None else mask.expand(-1, block.heads, -1, -1).flatten(0, 1)
            kwargs = {**kwargs, block.mask: per_head}
        return (torch.cat([tokens, tokens[:, :1].expand(-1, most, -1)], dim=1),), kwargs

    def leave(_module: nn.Module, _args: Any, output: Any) -> Any:
        tokens, length = output[0] if isinstance(output, tuple) else output, lengths[-1]
        slots, _ = regions.slots(len(tokens))
        found.append(tokens[regions.image_of, length + slots])
        whole = tokens[:, :length]
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    with contextlib.ExitStack() as hooks:
        hooks.callback(block.module.register_forward_pre_hook(enter, with_kwargs=True).remove)
        hooks.callback(block.module.register_forward_hook(leave).remove)
        yield found


def _visibility(
    regions: RegionBatch, grid: tuple[int, int], tokens: Tensor, slots: Tensor, most: int
) -> Float[Tensor, "n 1 queries keys"]:
    """Return what is added to attention scores of all tokens and, after them, a copy of the class token per region.

    Registers, the tokens between class token and patches, are seen by every region: they belong to no place. Copies
    that stand for no region, where images have fewer than others, see themselves.
    """
    count, length = tokens.shape[:2]
    mask = tokens.new_full((count, length + most, length + most), -math.inf)
    mask[:, :length, :length] = 0
    copies = torch.arange(length, length + most, device=tokens.device)
    mask[:, copies, copies] = 0
    first = length - grid[0] * grid[1]
    mask[:, length:, 1:first] = 0
    mask[regions.image_of, length + slots, first:length] = regions.bias(grid).to(mask.dtype)
    return mask[:, None]


def _reweighted(block: Any, mask: Float[Tensor, "n 1 queries keys"]) -> Any:
    """Multiply probabilities by `exp(mask)` and normalise them again: what the mask would do before the softmax."""

    def change(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        weighted = inputs[0] * mask.exp()
        return (weighted / weighted.sum(dim=-1, keepdim=True),)

    return block.self_attn.dropout.register_forward_pre_hook(change)


def pooled_by_class_token(
    encode: Callable[[], Tensor], block: LastBlock, finish: Callable[[Tensor], Tensor], regions: RegionBatch
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "k d"]]:
    """Return image features and region features of a tower with a class token.

    Args:
        encode: runs the tower once and returns raw image features.
        block: its last block.
        finish: what becomes of class tokens after that block, (k, width) -> (k, d).
        regions: of the images, at least one.
    """
    with region_tokens(block, regions) as found:
        features = encode()
    return features, finish(found[-1])
