"""Class names and prompt templates: the words that make a head, versioned by their hash."""

from collections.abc import Sequence

from vlm_data.errors import CallError
from vlm_data.files import text_hash

PLACEHOLDER = "{c}"


def fill(template: str, class_name: str) -> str:
    """Insert a class name into a template; every `{c}` is replaced, nothing else is interpreted.

    Example:
        >>> fill("a photo of a {c}.", "golden {retriever}")
        'a photo of a golden {retriever}.'
    """
    return template.replace(PLACEHOLDER, class_name)


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
        if PLACEHOLDER not in template:
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
