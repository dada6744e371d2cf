"""What the dual encoders of transformers have in common and where they differ, read off their modules."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vlm_models.interface import VisionOutput
from vlm_models.region_attention import Pooled, VisionStack, pooled_by_class_token, pooled_by_head
from vlm_models.region_batch import RegionBatch

ADAPTER_TARGETS = (
    r".*layers?\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12]"
    r"|attention\.self\.(query|key|value)|(attention\.output|intermediate|output)\.dense)"
)
"""Attention and MLP of the blocks of both towers, those of BERT included; not the head that pools patches."""


LEGACY_END = 2
"""An end token that early files of CLIP name by mistake; transformers then reads the text at its largest id."""


def capabilities(model: Any) -> frozenset[str]:
    """Return what a dual encoder of transformers can do, read off its modules."""
    recorded = [tower for tower in ("vision", "text", "pooling") if attention_modules(model, tower)]
    return frozenset(
        {"image", "text", "tokens", "region attention", "adapters", *(f"{tower} attention" for tower in recorded)}
    )


def attention_modules(model: Any, tower: str) -> Sequence[nn.Module]:
    """Return the attention modules of a tower, first layer first; empty if it has none."""
    if tower == "vision":
        return [layer.self_attn for layer in model.vision_model.encoder.layers]
    if tower == "text":
        encoder = _text(model).encoder
        layers = encoder.layers if hasattr(encoder, "layers") else encoder.layer
        return [layer.attention.self if reads_mask(model) else layer.self_attn for layer in layers]
    return [model.vision_model.head.attention] if tower == "pooling" and pools_by_attention(model) else []


def _text(model: Any) -> Any:
    """Return the module with embeddings and blocks: AltCLIP has it one level deeper."""
    return getattr(model.text_model, "roberta", model.text_model)


def reads_mask(model: Any) -> bool:
    """Return whether the text tower is a BERT, which must be told what is padding.

    CLIP is causal and reads the first end token, so what follows has no effect; SigLIP was trained to see padding.
    """
    return hasattr(_text(model).embeddings, "word_embeddings")


def end_token(model: Any) -> int | None:
    """Return the id at whose position the text tower is read, None for towers that are read at a fixed position."""
    return getattr(model.text_model, "eos_token_id", None)


def end_places(model: Any, tokens: Int64[Tensor, "n length"]) -> Int64[Tensor, " n"] | None:
    """Return where each text is read, for towers that are read at the end token; else None."""
    end = end_token(model)
    if end is None:
        return None
    is_legacy = end == LEGACY_END and model.config.model_type == "clip"
    return tokens.argmax(dim=1) if is_legacy else tokens.eq(end).int().argmax(dim=1)


def pools_by_attention(model: Any) -> bool:
    """Return whether the image tower ends in attention pooling, as SigLIP does, and not in a class token."""
    return not hasattr(model.vision_model.embeddings, "class_embedding")


def takes_patches(model: Any) -> bool:
    """Return whether the image tower wants cut patches with the shape of their grid, as SigLIP 2 NaFlex does."""
    return isinstance(model.vision_model.embeddings.patch_embedding, nn.Linear)


def embedding_dim(model: Any) -> int:
    """Return the size of the space both towers end in."""
    return (model.text_projection if hasattr(model, "text_projection") else model.text_model.head).out_features


def vocabulary_size(model: Any) -> int:
    """Return how many token ids the text tower has rows for."""
    embeddings = _text(model).embeddings
    table = embeddings.word_embeddings if reads_mask(model) else embeddings.token_embedding
    return table.num_embeddings


def positions(model: Any) -> int:
    """Return how many tokens a text may have; RoBERTa counts positions from the id of its padding plus one."""
    embeddings = _text(model).embeddings
    offset = embeddings.padding_idx + 1 if hasattr(embeddings, "padding_idx") else 0
    return (
        embeddings.position_embeddings if reads_mask(model) else embeddings.position_embedding
    ).num_embeddings - offset


def vision_inputs(model: Any, pixels: Float[Tensor, "n 3 height width"]) -> dict[str, Tensor]:
    """Return what the image tower takes for images of one size.

    For NaFlex, patches in reading order with their pixels in (row, column, channel) order, and the grid of each image.
    """
    if not takes_patches(model):
        return {"pixel_values": pixels}
    rows, columns = grid(model, pixels)
    cut = pixels.unflatten(3, (columns, -1)).unflatten(2, (rows, -1))  # n 3 rows height columns width
    patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    return {"pixel_values": patches, "spatial_shapes": torch.tensor([[rows, columns]] * len(pixels))}


def grid(model: Any, pixels: Float[Tensor, "n 3 height width"]) -> tuple[int, int]:
    """Return rows and columns of patches of images."""
    patch = model.vision_model.config.patch_size
    return pixels.shape[2] // patch, pixels.shape[3] // patch


def vision_tokens(model: Any, pixels: Float[Tensor, "n 3 height width"]) -> VisionOutput:
    """Run the image tower once; tokens are those after its final norm."""
    output = run_vision(model, pixels)
    tokens, pooled = output.last_hidden_state, output.pooler_output
    if not pools_by_attention(model):
        tokens = model.vision_model.post_layernorm(tokens)  # the library norms the class token alone
    prefix = 0 if pools_by_attention(model) else 1
    return VisionOutput(tokens, pooled, prefix, grid(model, pixels), project_image(model, pooled))


def run_vision(model: Any, pixels: Float[Tensor, "n 3 height width"]) -> Any:
    """Return the output of the image tower before its projection."""
    if takes_patches(model):
        return model.vision_model(pixel_attention_mask=None, **vision_inputs(model, pixels))
    return model.vision_model(**vision_inputs(model, pixels))


def project_image(model: Any, pooled: Float[Tensor, "n width"]) -> Float[Tensor, "n d"]:
    """Return the features of pooled tokens; SigLIP has no map after its pooling."""
    return model.visual_projection(pooled) if hasattr(model, "visual_projection") else pooled


def vision_stack(model: Any, pixels: Float[Tensor, "n 3 height width"]) -> VisionStack:
    """Return the blocks of the image tower, and the attention of its head if it pools by that."""
    pooling = model.vision_model.head.attention if pools_by_attention(model) else None
    return VisionStack(list(model.vision_model.encoder.layers), grid(model, pixels), "attention_mask", pooling=pooling)


def attend_regions(model: Any, pixels: Float[Tensor, "n 3 height width"], regions: RegionBatch) -> Pooled:
    """Return image features, and those of regions pooled as the tower pools an image."""
    stack = vision_stack(model, pixels)
    if stack.pooling is None:

        def finish(tokens: Tensor) -> Tensor:
            return project_image(model, model.vision_model.post_layernorm(tokens))

        return pooled_by_class_token(
            lambda: project_image(model, run_vision(model, pixels).pooler_output), stack, finish, regions
        )
    output = run_vision(model, pixels)
    parts = pooled_by_head(output.last_hidden_state, model.vision_model.head, stack, regions)
    return project_image(model, output.pooler_output), project_image(model, parts)


def text_features(model: Any, tokens: Int64[Tensor, "n length"], padding: int) -> Float[Tensor, "n d"]:
    """Return raw text features; a BERT is told what is padding, and spared columns where every row has it."""
    if not reads_mask(model):
        return model.get_text_features(input_ids=tokens).pooler_output
    mask = tokens != padding
    longest = max(1, int(mask.sum(dim=1).max())) if len(tokens) else tokens.shape[1]
    tokens, mask = tokens[:, :longest], mask[:, :longest]
    return model.get_text_features(input_ids=tokens, attention_mask=mask.long()).pooler_output


def parameter_group(name: str) -> str:
    """Return the part of a model of transformers that a parameter belongs to.

    Example:
        >>> parameter_group("visual_projection.weight"), parameter_group("vision_model.head.probe")
        ('vision projection', 'vision')
    """
    if name in ("logit_scale", "logit_bias"):
        return "logit"
    if name.startswith("visual_projection."):
        return "vision projection"
    if re.match(r"text_projection\.|text_model\.head\.", name):
        return "text projection"
    return "vision" if name.startswith("vision_model.") else "text"
