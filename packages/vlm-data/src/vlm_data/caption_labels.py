"""Which class a caption names, for training images that have captions and no labels."""

import functools
import re
from collections.abc import Sequence

from vlm_data.dataset import UNLABELLED
from vlm_data.errors import CallError

_CONSUMED = "\0"
"""Stands where a longer name was read: no part of a name, and no part of a word."""
_WORD_BEFORE, _WORD_AFTER = r"(?<!(?:[^\W_]|-))", r"(?!(?:[^\W_]|-))"


def caption_classes(caption: str, class_names: Sequence[str], plural: bool = False) -> tuple[int, ...]:
    """Return the classes whose names stand in a caption, sorted.

    The RaVL paper says only that captions are parsed for class names (section 4.1); this rule is ours. Capitals do not
    matter. Longer names are read first, then alphabetically, and what was read is not read again: "t-shirt" names no
    "shirt". A name counts if no letter, digit or hyphen stands right before or after it: "raincoat" names no "coat".

    Args:
        caption: any text.
        class_names: one per label; classes that are called alike are named together.
        plural: let "s" or "es" follow a name.

    Raises:
        CallError: if a class name is empty.

    Example:
        >>> names = ["t-shirt", "shirt", "bag"]
        >>> caption_classes("A T-shirt and two bags", names), caption_classes("two bags", names, plural=True)
        ((0,), (2,))
    """
    rest = caption.lower()
    found: set[int] = set()
    for name, labels, pattern in _patterns(tuple(class_names), plural):
        if name in rest:  # quicker than the pattern, and false for most of many classes
            read = pattern.sub(lambda part: _CONSUMED * len(part[0]), rest)
            if read != rest:
                found.update(labels)
                rest = read
    return tuple(sorted(found))


def caption_label(caption: str, class_names: Sequence[str], plural: bool = False) -> int:
    """Return the class that a caption names, or `UNLABELLED` (-1) if it names none or several.

    See `caption_classes` for what names a class.

    Raises:
        CallError: if a class name is empty.

    Example:
        >>> [caption_label(caption, ["one", "nine"]) for caption in ("the number is a Nine", "one or nine", "none")]
        [1, -1, -1]
    """
    found = caption_classes(caption, class_names, plural)
    return found[0] if len(found) == 1 else UNLABELLED


@functools.lru_cache(maxsize=16)
def _patterns(class_names: tuple[str, ...], plural: bool) -> list[tuple[str, tuple[int, ...], re.Pattern[str]]]:
    """Return the names in the order of reading, with the labels and the pattern of each."""
    labels_of: dict[str, tuple[int, ...]] = {}
    for label, name in enumerate(class_names):
        if not name.strip():
            raise CallError(
                f"class {label} has the name {name!r}, which no caption can name. Expected a word. Name the class."
            )
        labels_of[name.lower()] = (*labels_of.get(name.lower(), ()), label)
    ending = "(?:es|s)?" if plural else ""
    return [
        (name, labels_of[name], re.compile(f"{_WORD_BEFORE}{re.escape(name)}{ending}{_WORD_AFTER}"))
        for name in sorted(labels_of, key=lambda name: (-len(name), name))
    ]
