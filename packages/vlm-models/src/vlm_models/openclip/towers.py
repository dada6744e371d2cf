"""What the towers of open_clip have in common, though three libraries write them: tokens, attention, parts."""

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from torch import Tensor, nn

from vlm_models.interface import VisionOutput
from vlm_models.openclip.region_attention import attends_regions

ADAPTER_TARGETS = (
    r".*(resblocks\.\d+\.(attn|mlp\.c_fc|mlp\.c_proj)"
    r"|trunk\.(stages\.\d+\.)?blocks\.\d+\.(attn\.(qkv|[qkv]_proj|proj)|mlp\.fc(1|1_g|1_x|2))"
    r"|layers?\.\d+\..*\.(query|key|value|[qkv]_proj|[qkv]))"
)
"""Attention and MLP of open_clip's own blocks and of timm's towers, and attention of Hugging Face's text."""


def capabilities(clip: Any) -> frozenset[str]:
    """Return what an open_clip model can do, read off its modules."""
    found = {"image", "text"}
    if _is_transformer(clip.visual) or _is_timm_transformer(clip.visual) or hasattr(clip.visual, "attnpool"):
        found.add("tokens")
    if last_stage(clip.visual) is not None:
        found.add("feature map")
    if attends_regions(clip.visual):
        found.add("region attention")
    found |= {f"{tower} attention" for tower in ("vision", "text", "pooling") if attention_modules(clip, tower)}
    if "vision attention" in found or "text attention" in found:
        found.add("adapters")
    return frozenset(found)


def _is_transformer(visual: nn.Module) -> bool:
    return hasattr(visual, "transformer") and hasattr(visual, "ln_post")


def _is_timm_transformer(visual: nn.Module) -> bool:
    return hasattr(getattr(visual, "trunk", None), "blocks") and hasattr(getattr(visual, "trunk", None), "cls_token")


def last_stage(visual: Any) -> nn.Module | None:
    """Return the module whose output is the last feature map, (n, c, h, w); None for towers that are no such ResNet.

    Of timm those with `stages` of convolutions (ConvNeXt) or with `layer4` (ResNet).
    """
    if hasattr(visual, "attnpool"):
        return visual.layer4
    trunk = getattr(visual, "trunk", None)
    found = getattr(trunk, "layer4", None)
    stages = getattr(trunk, "stages", None)
    is_plain = stages is not None and not any("attn" in name for name, _ in stages.named_modules())
    return stages if found is None and is_plain else found


def attention_modules(clip: Any, tower: str) -> Sequence[nn.Module]:
    """Return the attention modules of a tower, first layer first; empty if it has none that can be recorded."""
    visual, text = clip.visual, getattr(clip, "text", clip)
    if tower == "pooling":
        pool = _pooling(visual)
        return [] if pool is None else [pool]
    if tower == "vision" and _is_timm_transformer(visual):
        return [block.attn for block in visual.trunk.blocks if getattr(block.attn, "fused_attn", None) is not None]
    blocks = getattr(getattr(visual if tower == "vision" else text, "transformer", None), "resblocks", ())
    return [block.attn for block in blocks] if tower in ("vision", "text") else []


def _pooling(visual: Any) -> nn.Module | None:
    """Return the attention of the head that pools all tokens, in towers of timm and of CoCa with one such head."""
    pool = getattr(getattr(visual, "trunk", None), "attn_pool", None)
    if pool is None and getattr(visual, "attn_pool_contrastive", None) is None:
        return getattr(getattr(visual, "attn_pool", None), "attn", None)
    return pool if hasattr(pool, "fused_attn") else None


def parameter_group(name: str) -> str:
    """Return the part of an open_clip model that a parameter belongs to.

    Example:
        >>> parameter_group("visual.proj"), parameter_group("transformer.resblocks.0.ln_1.bias")
        ('vision projection', 'text')
    """
    if name in ("logit_scale", "logit_bias"):
        return "logit"
    if re.match(r"visual\.(proj$|head\.|attnpool\.c_proj\.)", name):
        return "vision projection"
    if name.startswith("visual."):
        return "vision"
    if re.match(r"(text\.)?(text_projection|proj)(\.|$)", name):
        return "text projection"
    return "fusion" if name.startswith("text_decoder.") else "text"


def vision_tokens(visual: Any, pixels: Tensor) -> VisionOutput:
    """Run an image tower up to its projection; of a convolutional one, tokens are the cells of its last feature map."""
    if _is_transformer(visual):
        with _output_of(visual.transformer) as found, _output_of(visual.ln_post) as normed:
            features = _first(visual(pixels))
        raw = found[0]
        tokens = visual.ln_post(raw) if visual.attn_pool is None else raw
        # Attention that pools is not run again: `vlm_models.attention` keeps what was computed last.
        pooled = visual._pool(raw)[0] if _pooling(visual) is None else visual._global_pool(normed[-1])[0]
        return VisionOutput(tokens, pooled, 1, tuple(visual.grid_size), features)
    if _is_timm_transformer(visual):
        trunk = visual.trunk
        tokens = trunk.forward_features(pixels)
        pooled = trunk.forward_head(tokens, pre_logits=True)
        features = visual.head(trunk.head(pooled))
        grid = trunk.patch_embed.dynamic_feat_size(tuple(pixels.shape[-2:]))  # some towers take images of any size
        return VisionOutput(tokens, pooled, trunk.num_prefix_tokens, grid, features)
    with _output_of(visual.layer4) as found:
        features = visual(pixels)
    cells = found[0]
    return VisionOutput(cells.flatten(2).transpose(1, 2), features, 0, (cells.shape[-2], cells.shape[-1]), features)


def _first(output: Any) -> Tensor:
    """Return the features of a tower that may return its tokens too, as that of CoCa does."""
    return output[0] if isinstance(output, tuple) else output


def region_size(visual: Any) -> int:
    """Return the side of a part of the region map: what the last stage of a ResNet was trained on, else 7."""
    return 2 * math.isqrt(len(visual.attnpool.positional_embedding) - 1) if hasattr(visual, "attnpool") else 7


def shares_region_head(visual: Any) -> bool:
    """Return whether `pooled_region` pools by the weights that pool a whole image."""
    return hasattr(visual, "attnpool") or _pools_by_latents(visual)


def _pools_by_latents(visual: Any) -> bool:
    """Return whether a tower of timm ends in attention pooling of its patches."""
    trunk = getattr(visual, "trunk", None)
    return getattr(trunk, "attn_pool", None) is not None and not cast(Any, trunk).num_prefix_tokens


def map_before_last_stage(visual: Any, pixels: Tensor) -> Tensor:
    """Return the feature map of a ResNet before its last stage, (n, c, h, w) with stride 16."""
    return visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels))))


def pooled_region(visual: Any, cut: Tensor) -> Tensor | None:
    """Return what the tower's own last stage and attention pooling make of a region; None if it has none."""
    if hasattr(visual, "attnpool"):
        return visual.attnpool(visual.layer4(cut))
    if _pools_by_latents(visual):
        return visual.head(visual.trunk.forward_head(cut.flatten(2).transpose(1, 2)))
    return None


@contextlib.contextmanager
def _output_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module returns while the block runs."""
    found: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: found.append(cast(Tensor, output)))
    try:
        yield found
    finally:
        handle.remove()


def vocabulary_size(clip: Any) -> int | None:
    """Return how many token ids the text tower has rows for, None if that cannot be told."""
    names = ("token_embedding.weight", "word_embeddings.weight", "embed_tokens.weight", "shared.weight")
    return next((len(parameter) for name, parameter in clip.named_parameters() if name.endswith(names)), None)
