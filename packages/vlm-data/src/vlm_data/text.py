"""Class names and prompt templates: the words that make a head, versioned by their hash."""

import re
from collections.abc import Sequence

from vlm_data.errors import CallError
from vlm_data.files import text_hash

PLACEHOLDER = "{c}"
WITH_ARTICLE = "{a c}"
_PLACEHOLDERS = re.compile("|".join(map(re.escape, (PLACEHOLDER, WITH_ARTICLE))))


def fill(template: str, class_name: str) -> str:
    """Insert a class name into a template, as it is for `{c}`, behind its article for `{a c}`.

    Nothing else is interpreted, also not in the name.

    Example:
        >>> fill("a photo of a {c}.", "golden {retriever}")
        'a photo of a golden {retriever}.'
        >>> fill("satellite photo of {a c}, {c}", "amusement_park")
        'satellite photo of an amusement park, amusement_park'
    """
    return _PLACEHOLDERS.sub(
        lambda found: class_name if found[0] == PLACEHOLDER else with_article(class_name), template
    )


def with_article(class_name: str) -> str:
    """Return a class name behind "a" or "an", with spaces for underscores, as the prompts of FMoW have it.

    "an" stands before a lower-case vowel only.

    Example:
        >>> with_article("oil_or_gas_facility"), with_article("zoo")
        ('an oil or gas facility', 'a zoo')
    """
    return f"{'an' if class_name[:1] in tuple('aeiou') else 'a'} {class_name.replace('_', ' ')}"


def names_class(template: str) -> bool:
    """Return whether a template has a place for the class name.

    Example:
        >>> names_class("a photo of a {c}."), names_class("a photo of a cat.")
        (True, False)
    """
    return _PLACEHOLDERS.search(template) is not None


def prompts(class_names: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Return the text of every (class, template) pair, one list per class.

    Raises:
        CallError: if there is no template, or one lacks `{c}`.

    Example:
        >>> prompts(["cat"], ["a {c}", "the {c}"])
        [['a cat', 'the cat']]
    """
    if not templates:
        raise CallError("no prompt templates were given; expected at least one, such as 'a photo of a {c}.'")
    for template in templates:
        if not names_class(template):
            raise CallError(
                f"template {template!r} has no {{c}} where the class name goes; write e.g. 'a photo of a {{c}}.'"
            )
    return [[fill(template, name) for template in templates] for name in class_names]


def list_hash(lines: Sequence[str]) -> str:
    """Return the content hash of a list of class names or templates; order matters.

    Example:
        >>> list_hash(["cat", "dog"]) == list_hash(["dog", "cat"])
        False
    """
    return text_hash(*lines)
