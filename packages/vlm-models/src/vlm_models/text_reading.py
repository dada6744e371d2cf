"""How text towers read token ids: which of them are words, and where the feature of the text is taken from."""

import dataclasses
from collections.abc import Callable, Collection

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class TextReading:
    """What the places of tokenised texts are.

    Attributes:
        read_at: the place whose state becomes the feature; -1 = the last that the tower computes.
        words: which tokens belong to the text itself, and are no start, end or padding.
        pieces: what each token stands for.
    """

    read_at: Int64[Tensor, " n"]
    words: Bool[Tensor, "n length"]
    pieces: list[list[str]]


def read_at_end(
    tokens: Int64[Tensor, "n length"], end: Int64[Tensor, " n"], decode: Callable[[int], str]
) -> TextReading:
    """Return the reading of a causal tower: the feature is that of the end token, words stand between it and the first.

    Args:
        tokens: token ids.
        end: place of the end token in each text.
        decode: id -> what it stands for.

    Example:
        >>> reading = read_at_end(torch.tensor([[98, 5, 7, 99, 0]]), torch.tensor([3]), str)
        >>> reading.words.tolist(), reading.pieces[0][1:3]
        ([[False, True, True, False, False]], ['5', '7'])
    """
    places = torch.arange(tokens.shape[1], device=tokens.device)
    return TextReading(end, (places > 0) & (places < end[:, None]), _pieces(tokens, decode))


def read_at_place(
    tokens: Int64[Tensor, "n length"], place: int, special: Collection[int], decode: Callable[[int], str]
) -> TextReading:
    """Return the reading of a tower that sees the whole text: words are all tokens that are not special.

    Args:
        tokens: token ids.
        place: where the feature is taken from, 0 (a class token) or -1.
        special: ids of start, end, padding.
        decode: id -> what it stands for.

    Example:
        >>> read_at_place(torch.tensor([[5, 7, 1, 1]]), -1, {1}, str).words.tolist()
        [[True, True, False, False]]
    """
    known = torch.tensor(sorted(special), dtype=tokens.dtype, device=tokens.device)
    read_at = torch.full((len(tokens),), place, device=tokens.device)
    return TextReading(read_at, ~torch.isin(tokens, known), _pieces(tokens, decode))


def _pieces(tokens: Tensor, decode: Callable[[int], str]) -> list[list[str]]:
    names = {number: decode(number) for number in tokens.unique().tolist()}
    return [[names[number] for number in row] for row in tokens.tolist()]
