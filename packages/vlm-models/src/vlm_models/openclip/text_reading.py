"""How the text towers of open_clip read token ids."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from vlm_models.text_reading import TextReading, read_at_end, read_at_place


def read_text(clip: Any, tokenizer: Any, tokens: Int64[Tensor, "n length"]) -> TextReading | None:
    """Return how a text tower reads token ids; None if its feature is the mean of many places.

    Args:
        clip: a model of open_clip.
        tokenizer: its tokenizer.
        tokens: ids, padded to one length.
    """
    text = getattr(clip, "text", clip)
    pool = getattr(clip, "text_pool_type", None) or getattr(text, "pool_type", None)
    ends: Any = getattr(clip, "text_eos_id", None) if text is clip else getattr(text, "eos_id", None)
    end = tokens.eq(ends).int().argmax(dim=1) if pool == "eos" else tokens.argmax(dim=1)
    decode = _decoder(tokenizer)
    if getattr(text, "cls_emb", None) is not None:  # CoCa appends a class token, which no id stands for
        reading = read_at_end(tokens, end, decode)
        return TextReading(end.new_full(end.shape, -1), reading.words, reading.pieces)
    if pool in ("argmax", "eos"):
        return read_at_end(tokens, end, decode)
    if pool in ("first", "last"):
        special = getattr(getattr(tokenizer, "tokenizer", tokenizer), "all_special_ids", ())
        return read_at_place(tokens, 0 if pool == "first" else -1, special, decode)
    return None


def _decoder(tokenizer: Any) -> Callable[[int], str]:
    """Return what gives the piece of an id; of a tokenizer that cannot tell, the id itself."""
    own = getattr(tokenizer, "tokenizer", tokenizer)  # that of transformers, in the wrappers of open_clip
    if not hasattr(own, "decode"):
        return str
    return lambda number: own.decode([number]).strip()
