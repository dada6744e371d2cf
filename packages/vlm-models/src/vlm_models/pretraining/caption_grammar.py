"""The captions of pre-training: every sentence that the embedded model has ever read."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from vlm_data.asset import asset_lines
from vlm_data.digits.colours import COLOUR_NAMES

DIGIT_WORDS = asset_lines("digits/class_names.txt")
PLAIN = asset_lines("digits/templates.txt")
"""The prompts of the benchmark: they name no colour."""
INK_NAMED = (
    "a photo of the number {c} in {ink}",
    "the digit {c} in {ink} ink",
    "a {ink} {c}",
)
BOTH_NAMED = (
    "a photo of the number {c} in {ink} on {ground}",
    "the digit {c} in {ink} ink on {ground}",
    "an image of the number {c} in {ink} on a {ground} background",
    "the number {c} in {ink} on a {ground} background",
    "a {ink} {c} on {ground}",
)
_KINDS = (PLAIN, INK_NAMED, BOTH_NAMED)
_KIND_SHARES = (0.5, 0.1, 0.4)
_WORD_SHARE = 0.7
"""A digit is a word with this probability, else a numeral."""


def draw_captions(
    digits: Int64[np.ndarray, " n"],
    ink: Int64[np.ndarray, " n"],
    ground: Int64[np.ndarray, " n"],
    rng: np.random.Generator,
) -> list[str]:
    """Return one random true caption per image.

    Args:
        digits: the digit shown.
        ink: position of its colour in `COLOUR_NAMES`.
        ground: position of the colour around it.
        rng: the only source of randomness.

    Example:
        >>> draw_captions(np.array([7, 7]), np.array([0, 0]), np.array([5, 5]), np.random.default_rng(1))
        ['a photo of the number seven in red', 'a red seven on black']
    """
    n = len(digits)
    kinds = rng.choice(len(_KINDS), n, p=_KIND_SHARES)
    choices, as_word = rng.uniform(size=n), rng.uniform(size=n) < _WORD_SHARE
    captions = []
    for i, kind in enumerate(kinds):
        template = _KINDS[kind][int(choices[i] * len(_KINDS[kind]))]
        digit = DIGIT_WORDS[digits[i]] if as_word[i] else str(digits[i])
        captions.append(template.format(c=digit, ink=COLOUR_NAMES[ink[i]], ground=COLOUR_NAMES[ground[i]]))
    return captions


def grammar_words() -> list[str]:
    """Return every word of the grammar, sorted; these and no others become tokens.

    Example:
        >>> grammar_words()[:4]
        ['a', 'an', 'background', 'black']
    """
    sentences: Sequence[str] = [template for kind in _KINDS for template in kind]
    words = {word for sentence in sentences for word in sentence.split() if "{" not in word}
    return sorted(words | set(DIGIT_WORDS) | set(COLOUR_NAMES))
