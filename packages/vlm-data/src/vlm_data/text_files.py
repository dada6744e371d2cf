"""Class names and templates in the small text files that lie beside somebody's images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vlm_data.asset import asset_lines
from vlm_data.errors import DataLayoutError, listing
from vlm_data.text import PLACEHOLDER, names_class

CLASS_NAMES_FILE = "classnames.txt"
TEMPLATES_FILE = "templates.txt"
CAPTION_AS_CLASS = (PLACEHOLDER,)
"""The templates where the class names are whole captions."""


def default_templates() -> tuple[str, ...]:
    """Return the templates for data that brings none: the shipped list `simple-v1`, which never changes.

    Example:
        >>> default_templates()
        ('a photo of a {c}.',)
    """
    return asset_lines("templates/simple-v1.txt")


def templates_in(folder: Path) -> tuple[str, ...]:
    """Return the lines of `templates.txt` in a folder, or the default templates where there is no such file.

    Raises:
        DataLayoutError: if the file is empty, is not UTF-8, or a line lacks `{c}`.
    """
    path = folder / TEMPLATES_FILE
    if not path.exists():
        return default_templates()
    templates = tuple(line.strip() for line in _lines(path) if line.strip())
    wrong = [template for template in templates if not names_class(template)]
    if wrong or not templates:
        what = f"{path} has the line {wrong[0]!r} without {{c}}" if wrong else f"{path} is empty"
        raise DataLayoutError(
            f"{what}. Expected one template per line with {{c}} where the class name goes, such as "
            "'a photo of a {c}.'. Correct the file, or remove it to use the default template."
        )
    return templates


def class_names_in(folder: Path, keys: Sequence[str], default: Mapping[str, str]) -> tuple[str, ...]:
    """Return the display name of every class key, from `classnames.txt` in a folder where there is one.

    A line is `key<TAB>display name`; a line without TAB names the class whose number is the line's, from 0.
    Lines for other classes are ignored.

    Args:
        folder: where the file may be.
        keys: class folders or labels, in label order.
        default: display name of every key where there is no file.

    Raises:
        DataLayoutError: if a key has no line, or two keys have the same display name: such classes cannot be told
            apart by a prompt.
    """
    path = folder / CLASS_NAMES_FILE
    names = _named(_lines(path)) if path.exists() else default
    missing = [key for key in keys if not names.get(key)]
    if missing:
        raise DataLayoutError(
            f"{path} has no name for {len(missing)} of {len(keys)} classes: {listing(missing)}. "
            "Expected a line 'class<TAB>display name' for each. Add the lines, or remove the file to use the names of "
            "the classes as they are."
        )
    _check_distinct(keys, [names[key] for key in keys])
    return tuple(names[key] for key in keys)


def _named(lines: Sequence[str]) -> dict[str, str]:
    cells = [line.split("\t", 1) for line in lines]
    return {cell[0].strip() if len(cell) == 2 else str(i): cell[-1].strip() for i, cell in enumerate(cells)}


def _check_distinct(keys: Sequence[str], names: Sequence[str]) -> None:
    first: dict[str, str] = {}
    for key, name in zip(keys, names, strict=True):
        if name in first:
            raise DataLayoutError(
                f"classes {first[name]!r} and {key!r} have the same display name {name!r}. "
                "Expected a name of its own for each class, or no prompt can tell them apart. "
                f"Rename one of them in {CLASS_NAMES_FILE}, or merge the two."
            )
        first[name] = key


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataLayoutError(f"cannot read {path}: {error}. Expected a text file. Save it as UTF-8.") from error
