"""Regions pooled as a tower of open_clip pools an image: by class token, mean, latents, or a ResNet's attention."""

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlm_models.region_attention import (
    Pooled,
    VisionStack,
    pooled_by_class_token,
    pooled_by_head,
    weighted_means,
)
from vlm_models.region_batch import RegionBatch


def attends_regions(visual: Any) -> bool:
    """Return whether the pooling of an image tower can be restricted to regions."""
    return hasattr(visual, "attnpool") or vision_stack(visual, None) is not None or _means_patches(visual)


def vision_stack(visual: Any, pixels: Tensor | None) -> VisionStack | None:
    """Return the blocks of a tower that reads its class token or pools by attention; None for any other.

    Args:
        visual: the tower.
        pixels: images, whose size a grid may depend on.
    """
    if hasattr(visual, "transformer") and hasattr(visual, "ln_post") and visual.transformer.batch_first:
        pool = visual.attn_pool
        known = (pool is None and visual.pool_type == "tok") or (
            pool is not None and visual.attn_pool_contrastive is None
        )
        blocks = list(visual.transformer.resblocks)
        attention = None if pool is None else pool.attn
        grid = tuple(visual.grid_size)
        return VisionStack(blocks, grid, heads=blocks[-1].attn.num_heads, pooling=attention) if known else None
    trunk = _timm_trunk(visual)
    if trunk is None or (trunk.attn_pool is None and trunk.global_pool != "token"):
        return None
    return VisionStack(list(trunk.blocks), _timm_grid(trunk, pixels), pooling=trunk.attn_pool)


def _timm_trunk(visual: Any) -> Any:
    """Return a vision transformer of timm whose blocks take masks, and whose tokens have no rotary positions."""
    trunk = getattr(visual, "trunk", None)
    parts = ("blocks", "cls_token", "attn_pool", "global_pool", "num_prefix_tokens", "patch_embed")
    if not all(hasattr(trunk, part) for part in parts) or getattr(trunk, "rope", None) is not None:
        return None
    pool, block = getattr(trunk, "attn_pool", None), getattr(trunk, "blocks", [None])[-1]
    modules = [block] if pool is None else [block, pool]
    return trunk if all("attn_mask" in inspect.signature(module.forward).parameters for module in modules) else None


def _timm_grid(trunk: Any, pixels: Tensor | None) -> tuple[int, int]:
    return trunk.patch_embed.grid_size if pixels is None else trunk.patch_embed.dynamic_feat_size(pixels.shape[-2:])


def _means_patches(visual: Any) -> bool:
    """Return whether a tower projects the mean of its patch tokens."""
    if hasattr(visual, "transformer") and hasattr(visual, "ln_post"):
        return visual.attn_pool is None and visual.pool_type == "avg"
    trunk = _timm_trunk(visual)
    if trunk is None or trunk.attn_pool is not None:
        return False
    return trunk.global_pool == "avg" and not trunk.pool_include_prefix


def attend_regions(visual: Any, pixels: Tensor, regions: RegionBatch) -> Pooled:
    """Return image features and those of regions, for a tower of which `attends_regions` is true."""
    if hasattr(visual, "attnpool"):
        return _by_resnet(visual, pixels, regions)
    if hasattr(visual, "transformer"):
        return _by_own_blocks(visual, pixels, regions)
    return _by_timm(visual, pixels, regions)


def _by_own_blocks(visual: Any, pixels: Tensor, regions: RegionBatch) -> Pooled:
    def projected(pooled: Tensor) -> Tensor:
        return pooled if visual.proj is None else pooled @ visual.proj

    stack = vision_stack(visual, pixels)
    if stack is not None and stack.pooling is None:

        def encode() -> Tensor:
            output = visual(pixels)
            return output[0] if isinstance(output, tuple) else output

        return pooled_by_class_token(encode, stack, lambda tokens: projected(visual.ln_post(tokens)), regions)
    tokens = visual.transformer(visual._embeds(pixels))
    features = projected(visual._pool(tokens)[0])
    if stack is not None:
        return features, pooled_by_head(tokens, lambda cut: projected(visual._pool(cut)[0]), stack, regions)
    if visual.final_ln_after_pool:
        return features, projected(visual.ln_post(weighted_means(tokens[:, 1:], tuple(visual.grid_size), regions)))
    return features, projected(weighted_means(visual.ln_post(tokens)[:, 1:], tuple(visual.grid_size), regions))


def _by_timm(visual: Any, pixels: Tensor, regions: RegionBatch) -> Pooled:
    trunk, stack = visual.trunk, vision_stack(visual, pixels)

    def finish(tokens: Tensor) -> Tensor:
        return visual.head(trunk.forward_head(tokens))

    if stack is not None and stack.pooling is None:

        def of_class_tokens(tokens: Tensor) -> Tensor:
            return finish(trunk.norm(tokens[:, None]))

        return pooled_by_class_token(lambda: visual(pixels), stack, of_class_tokens, regions)
    tokens = trunk.forward_features(pixels)
    prefix = trunk.num_prefix_tokens
    if stack is not None:
        hidden = 0 if trunk.pool_include_prefix else prefix
        read = tokens[:, hidden:]

        def pool(cut: Tensor) -> Tensor:
            return finish(cut if not hidden else torch.cat([cut[:, :1].expand(-1, hidden, -1), cut], dim=1))

        return finish(tokens), pooled_by_head(read, pool, stack, regions)
    means = weighted_means(tokens[:, prefix:], _timm_grid(trunk, pixels), regions)
    return finish(tokens), finish(torch.cat([tokens[regions.image_of, :prefix], means[:, None]], dim=1))


def _by_resnet(visual: Any, pixels: Tensor, regions: RegionBatch) -> Pooled:
    """Pool by the attention of OpenAI's ResNets, whose query is the mean of all cells: of a region, the mean of its."""
    cells = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
    grid = (cells.shape[-2], cells.shape[-1])
    tokens = cells.flatten(2).transpose(1, 2)
    means = weighted_means(tokens, grid, regions)
    read = torch.cat([means[:, None], tokens[regions.image_of]], dim=1)
    bias = functional.pad(regions.bias(grid), (1, 0)).to(read.dtype)
    return visual.attnpool(cells), _attended(visual.attnpool, read, bias)


def _attended(
    pool: Any, tokens: Float[Tensor, "k tokens width"], bias: Float[Tensor, "k tokens"]
) -> Float[Tensor, "k d"]:
    """Return what the attention pooling of a ResNet gives for its first token, with a bias per key."""
    placed = (tokens + pool.positional_embedding[None].to(tokens.dtype)).transpose(0, 1)
    found, _ = functional.multi_head_attention_forward(
        query=placed[:1],
        key=placed,
        value=placed,
        embed_dim_to_check=placed.shape[-1],
        num_heads=pool.num_heads,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
        in_proj_weight=None,
        in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=pool.c_proj.weight,
        out_proj_bias=pool.c_proj.bias,
        use_separate_proj_weight=True,
        attn_mask=bias[:, None].repeat_interleave(pool.num_heads, dim=0),
        need_weights=False,
    )
    return found[0]
