"""Learning the merges of a small byte-pair vocabulary, in the file format of `open_clip.SimpleTokenizer`."""

import gzip
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from vlm_data.files import write_bytes

_END = "</w>"


def learn_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Merge the most frequent pair of neighbours until every word is one token (Sennrich et al. 2016, algorithm 1).

    Ties go to the alphabetically first pair, so the result depends on the words alone.

    Example:
        >>> learn_merges(["on", "one"])
        [('n', 'e</w>'), ('o', 'n</w>'), ('o', 'ne</w>')]
    """
    split = [[*word[:-1], word[-1] + _END] for word in words]
    merges = []
    while counts := Counter(pair for parts in split for pair in pairwise(parts)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        split = [_merged(parts, best) for parts in split]
    return merges


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    result: list[str] = []
    position = 0
    while position < len(parts):
        found = tuple(parts[position : position + 2]) == pair
        result.append("".join(pair) if found else parts[position])
        position += 2 if found else 1
    return result


def write_merges(merges: Sequence[tuple[str, str]], path: Path) -> None:
    """Write a merges file: one header line, which readers skip, then one merge per line.

    The last line has no line feed: an empty line would become an empty merge and shift the ids of the special tokens.
    """
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    write_bytes(path, gzip.compress("\n".join(lines).encode(), mtime=0))
