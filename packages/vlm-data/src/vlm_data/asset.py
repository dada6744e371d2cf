"""Small files that ship inside the package: class names, templates, glyphs."""

from pathlib import Path

_FOLDER = Path(__file__).parent / "assets"


def asset_path(name: str) -> Path:
    """Return where a shipped file lies.

    Example:
        >>> asset_path("digits/templates.txt").name
        'templates.txt'
    """
    return _FOLDER / name


def asset_lines(name: str) -> tuple[str, ...]:
    """Return the lines of a shipped text file: class names or templates.

    Example:
        >>> asset_lines("digits/class_names.txt")[:2]
        ('zero', 'one')
    """
    return tuple(asset_path(name).read_text(encoding="utf-8").splitlines())
