"""What the card of a published model says about itself."""

import re
from pathlib import Path

_CARD = "README.md"
_FRONT_MATTER = re.compile(r"\A---\r?\n(?P<lines>.*?)\r?\n---", re.DOTALL)
_LICENCE = re.compile(r"^license(_name)?:[ \t]*['\"]?(?P<name>[^'\"#\r\n]+)", re.MULTILINE)


def licence(folder: Path) -> str:
    r"""Return the licence that a model card names in its front matter, empty if there is no card or no word about it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model")
        >>> licence(folder)
        'apache-2.0'
    """
    try:
        text = (folder / _CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    front = _FRONT_MATTER.match(text)
    named = {match[1] or "": match["name"].strip() for match in _LICENCE.finditer(front["lines"])} if front else {}
    return named.get("_name") or named.get("", "")
