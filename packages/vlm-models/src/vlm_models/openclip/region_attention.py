"""Regions pooled as a tower of open_clip pools an image."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from vlm_models.region_attention import LastBlock, pooled_by_class_token
from vlm_models.region_batch import RegionBatch


def attends_regions(visual: Any) -> bool:
    """Return whether the pooling of an image tower can be restricted to regions."""
    return _reads_class_token(visual)


def attend_regions(
    visual: Any, pixels: Tensor, regions: RegionBatch
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "k d"]]:
    """Return image features and those of regions, for a tower of which `attends_regions` is true."""

    def finish(tokens: Tensor) -> Tensor:
        pooled = visual.ln_post(tokens)
        return pooled if visual.proj is None else pooled @ visual.proj

    module = visual.transformer.resblocks[-1]
    block = LastBlock(module, tuple(visual.grid_size), heads=module.attn.num_heads)
    return pooled_by_class_token(lambda: visual(pixels), block, finish, regions)


def _reads_class_token(visual: Any) -> bool:
    """Return whether a tower of open_clip's own blocks projects its class token."""
    plain = hasattr(visual, "transformer") and getattr(visual, "attn_pool", 0) is None and visual.pool_type == "tok"
    return plain and visual.transformer.batch_first
