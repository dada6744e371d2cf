"""Run lengths, in which COCO files keep masks: how long background and object take turns, column by column."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

_FIRST = ord("0")
_MORE, _SIGN, _LOW = 0x20, 0x10, 0x1F


def decode_counts(text: str) -> list[int]:
    """Return the run lengths that the compressed form of COCO files holds.

    Each number is written five bits at a time, lowest first, as characters from `0` on: bit 6 of a character says
    that more follow, bit 5 of the last is the sign. From the fourth number on it is the difference to the number two
    before it, as rows of one object are of similar length.

    Raises:
        ValueError: for characters outside the code, or a number that is cut off.

    Example:
        >>> decode_counts("52203")
        [5, 2, 2, 2, 5]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - _FIRST
        if not 0 <= code < 2 * _MORE:
            raise ValueError(f"the character {character!r} does not occur in compressed run lengths")
        value |= (code & _LOW) << shift
        shift += 5
        if code & _MORE:
            continue
        if code & _SIGN:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the last run length is cut off")
    return counts


def runs_mask(counts: Sequence[int], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return the mask of run lengths: the first is background, and pixels are counted down the columns.

    Args:
        counts: whole numbers from zero on, which add up to the pixels of the image.
        size: width and height of the image.

    Raises:
        ValueError: for negative lengths or another sum.

    Example:
        >>> runs_mask([1, 3, 2], (3, 2)).astype(int)
        array([[0, 1, 0],
               [1, 1, 0]])
    """
    width, height = size
    if min(counts, default=0) < 0 or sum(counts) != width * height:
        raise ValueError(f"run lengths cover {sum(counts)} pixels; expected {width} x {height} = {width * height}")
    lengths = np.array(counts, dtype=np.int64)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T
