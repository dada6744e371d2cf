"""Text towers that only look back: what follows the end of a text changes neither its feature nor any gradient."""

from typing import Any

import open_clip
from jaxtyping import Float, Int64
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

_FEW_LENGTHS = 8
"""Lengths are rounded up to a multiple, so that kernels and memory are asked for few different shapes."""


def needed_tokens(clip: Any, tokens: Int64[Tensor, "n length"]) -> Int64[Tensor, "n shorter"]:
    """Return the token ids without the columns behind the end of the longest text; all of them if a tower sees these.

    A causal tower whose feature is read off at the end of the text does not: 77 columns are mostly padding, and a
    caption needs a dozen.

    Args:
        clip: a model of open_clip.
        tokens: ids, padded to one length.
    """
    if not _looks_back_only(clip):
        return tokens
    is_end = tokens == clip.text_eos_id if clip.text_pool_type == "eos" else tokens == tokens.amax(dim=1, keepdim=True)
    length = int(is_end.int().argmax(dim=1).max()) + 1
    return tokens[:, : -(-length // _FEW_LENGTHS) * _FEW_LENGTHS]


def encode_short_text(clip: Any, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n d"]:
    """Return raw text features, also for token ids that are cut by `needed_tokens`.

    The class `CLIP` of open_clip adds all of its position embeddings and so takes only texts of full length.
    """
    length = tokens.shape[1]
    if not _looks_back_only(clip) or length >= len(clip.positional_embedding):
        return clip.encode_text(tokens)
    dtype = clip.transformer.get_cast_dtype()
    states = clip.token_embedding(tokens).to(dtype) + clip.positional_embedding[:length].to(dtype)
    states = clip.ln_final(clip.transformer(states, attn_mask=clip.attn_mask[:length, :length]))
    pooled = text_global_pool(states, tokens, clip.text_pool_type, eos_token_id=getattr(clip, "text_eos_id", None))
    projection = clip.text_projection
    if projection is None:
        return pooled
    return projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection


def _looks_back_only(clip: Any) -> bool:
    """Return whether a text tower is causal, and its feature is read off at the end of the text."""
    is_own = isinstance(clip, open_clip.CLIP)  # the towers of `CustomTextCLIP` take no other length than their own
    return is_own and clip.attn_mask is not None and clip.text_pool_type in ("argmax", "eos")
