"""The attention by which a tower pools an image, restricted to parts of it, in modules of any library.

The last block of a tower with a class token is given one more copy of that token per region. A copy sees itself, as the
class token does, and of the patches only those of its region; nothing sees a copy. So a region is pooled by the weights
that pool the image, image and regions come out of one pass, and the whole image as a region gives the image feature.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vlm_models.region_batch import RegionBatch

Pooled = tuple[Float[Tensor, "n d"], Float[Tensor, "k d"]]
"""Raw features of images and of regions."""


@dataclasses.dataclass(frozen=True)
class VisionStack:
    """The blocks of an image tower, and how each is told which tokens see which.

    Attributes:
        blocks: first to last; each takes tokens (n, tokens, width) as its first argument, patches last.
        grid: rows and columns of patches.
        mask: name of a block's argument for what is added to attention scores; None where a block computes
            probabilities itself and hands them to its module `self_attn.dropout`, as in BLIP and ALBEF.
        heads: number of heads where the mask must have one row per image and head, (n heads, queries, keys); None where
            it is (n, 1, queries, keys).
        pooling: the attention that pools all tokens after the last block; None where the class token is the image.
    """

    blocks: Sequence[nn.Module]
    grid: tuple[int, int]
    mask: str | None = "attn_mask"
    heads: int | None = None
    pooling: nn.Module | None = None

    @contextlib.contextmanager
    def seeing(self, block: nn.Module, mask: Float[Tensor, "n 1 queries keys"]) -> Iterator[dict[str, Tensor]]:
        """Apply a mask to the next call of a block: yields its argument, or changes probabilities while this runs."""
        if self.mask is not None:
            per_head = mask if self.heads is None else mask.expand(-1, self.heads, -1, -1).flatten(0, 1)
            yield {self.mask: per_head}
            return
        handle = _reweighted(block, mask)
        try:
            yield {}
        finally:
            handle.remove()


def _reweighted(block: Any, mask: Float[Tensor, "n 1 queries keys"]) -> Any:
    """Multiply probabilities by `exp(mask)` and normalise them again: what the mask would do before the softmax."""

    def change(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        weighted = inputs[0] * mask.exp()
        return (weighted / weighted.sum(dim=-1, keepdim=True),)

    return block.self_attn.dropout.register_forward_pre_hook(change)


def pooled_by_class_token(
    encode: Callable[[], Tensor], stack: VisionStack, finish: Callable[[Tensor], Tensor], regions: RegionBatch
) -> Pooled:
    """Return image features and region features of a tower with a class token.

    Args:
        encode: runs the tower once and returns raw image features.
        stack: its blocks.
        finish: what becomes of class tokens after the last block, (k, width) -> (k, d).
        regions: of the images, at least one.
    """
    with _region_tokens(stack, regions) as found:
        features = encode()
    return features, finish(found[-1])


@contextlib.contextmanager
def _region_tokens(stack: VisionStack, regions: RegionBatch) -> Iterator[list[Float[Tensor, "k width"]]]:
    """Collect the class token of every region after the last block; what the tower computes stays as it is."""
    found: list[Tensor] = []
    block, length = stack.blocks[-1], 0

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Tensor], dict[str, Any]]:
        nonlocal length
        tokens = args[0]
        slots, most = regions.slots(len(tokens))
        length = tokens.shape[1]
        mask = _visibility(regions, stack.grid, tokens, slots, most)
        kwargs = {**kwargs, **during.enter_context(stack.seeing(module, mask))}
        return (torch.cat([tokens, tokens[:, :1].expand(-1, most, -1)], dim=1),), kwargs

    def leave(_module: nn.Module, _args: Any, output: Any) -> Any:
        tokens = output[0] if isinstance(output, tuple) else output
        slots, _ = regions.slots(len(tokens))
        found.append(tokens[regions.image_of, length + slots])
        whole = tokens[:, :length]
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    with contextlib.ExitStack() as during:
        during.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
        during.callback(block.register_forward_hook(leave).remove)
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


def pooled_by_head(
    tokens: Float[Tensor, "n tokens width"],
    pool: Callable[[Tensor], Tensor],
    stack: VisionStack,
    regions: RegionBatch,
) -> Float[Tensor, "k d"]:
    """Return region features of a tower whose head pools all tokens by attention.

    Args:
        tokens: what the head reads.
        pool: the head and what follows, (k, tokens, width) -> (k, d); it calls `stack.pooling`.
        stack: of the tower.
        regions: of the images, at least one.
    """
    with _keys_masked(stack.pooling, regions.bias(stack.grid)):
        return pool(tokens[regions.image_of])


@contextlib.contextmanager
def _keys_masked(attention: nn.Module | None, bias: Float[Tensor, "n patches"]) -> Iterator[None]:
    """Add a bias to the scores of the last keys of an attention that pools, while the block runs.

    Keys before them, a class token and registers, are seen. None is no such attention.
    """

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        own = isinstance(module, nn.MultiheadAttention)
        keys = args[1] if own else args[0]
        mask = functional.pad(bias, (keys.shape[1] - bias.shape[1], 0)).to(keys.dtype)[:, None, None]
        if own:
            mask = mask.expand(-1, cast(nn.MultiheadAttention, module).num_heads, args[0].shape[1], -1).flatten(0, 1)
        return args, {**kwargs, "attn_mask": mask}

    if attention is None:
        yield
        return
    handle = attention.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def weighted_means(
    patches: Float[Tensor, "n patches width"], grid: tuple[int, int], regions: RegionBatch
) -> Float[Tensor, "k width"]:
    """Return the mean of the patch tokens of every region, each by the share of its patch that the region covers.

    Weights of all patches of an image at once: a copy of its patches per region would cost far more memory.
    """
    slots, most = regions.slots(len(patches))
    weights = patches.new_zeros(len(patches), most, patches.shape[1])
    weights[regions.image_of, slots] = regions.shares(grid).to(patches.dtype)
    return (weights @ patches)[regions.image_of, slots]


def encoded_alone(encode: Callable[[], Tensor], stack: VisionStack, regions: RegionBatch) -> Float[Tensor, "k d"]:
    """Return region features of a tower that sees, from its first block on, nothing but the patches of the region.

    Patches keep their size and their positions. Of each region as many tokens are computed as the largest one has, so
    the four quadrants of an image cost about as much as the image. Unlike in `pooled_by_class_token`, no patch has seen
    one outside of the region, nor has the class token.

    Args:
        encode: runs the tower once on the images and returns raw features of what comes out of the blocks.
        stack: its blocks.
        regions: of the images, at least one.
    """
    bias = regions.bias(stack.grid)
    most = int((bias > -math.inf).sum(dim=1).max())
    kept = bias.topk(most, dim=1).indices.sort(dim=1).values
    bias = bias.gather(1, kept)
    needs_mask = bool((bias != 0).any())

    def mask_of(tokens: Tensor) -> Tensor:
        return functional.pad(bias, (tokens.shape[1] - most, 0)).to(tokens.dtype)

    def enter_first(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tokens, first = args[0], args[0].shape[1] - stack.grid[0] * stack.grid[1]
        places = torch.cat([torch.arange(first, device=kept.device).expand(len(kept), -1), first + kept], dim=1)
        return (tokens[regions.image_of[:, None], places], *args[1:]), kwargs

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tokens = args[0]
        mask = mask_of(tokens)[:, None, None].expand(-1, -1, tokens.shape[1], -1)
        return args[:1], {**kwargs, **during.enter_context(stack.seeing(module, mask))}

    with contextlib.ExitStack() as during:
        during.callback(stack.blocks[0].register_forward_pre_hook(enter_first, with_kwargs=True).remove)
        for block in stack.blocks if needs_mask else ():
            during.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
        if needs_mask:
            during.enter_context(_keys_masked(stack.pooling, bias))
        return encode()
