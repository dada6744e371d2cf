"""The small files in which data sets keep names, labels and splits: MATLAB, numbered lines, lists of numbers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlm_data.errors import DataLayoutError, listing


def read_matlab(path: Path, *names: str) -> list[Any]:
    """Return variables of a MATLAB file, without the dimensions of size one that MATLAB adds.

    Raises:
        DataLayoutError: if the file is missing, damaged or lacks a variable.
    """
    from scipy.io import loadmat  # imported with the first file: it takes a while
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, squeeze_me=True)
        return [content[name] for name in names]
    except (OSError, KeyError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise DataLayoutError(
            f"cannot read {', '.join(names)} from {path}: {error}. Expected the MATLAB file of the authors. "
            "Download it again."
        ) from error


def read_numbered_lines(path: Path) -> dict[int, str]:
    """Return the text of every line `NUMBER TEXT` by its number, in the order of the file; empty lines are left out.

    Raises:
        DataLayoutError: if the file cannot be read, a line has no number or no text, or a number occurs twice.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "classes.txt")
        >>> _ = path.write_text("1 001.Laysan_Albatross")
        >>> read_numbered_lines(path)
        {1: '001.Laysan_Albatross'}
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataLayoutError(
            f"cannot read {path}: {error}. Expected the text file of the authors. Unpack it again."
        ) from error
    found: dict[int, str] = {}
    for place, line in enumerate(lines, start=1):
        cells = line.split(maxsplit=1)
        if not cells:
            continue
        number = int(cells[0]) if cells[0].isdecimal() else -1
        if len(cells) < 2 or number < 0 or number in found:
            what = "repeats a number" if number in found else "is not a number followed by a text"
            raise DataLayoutError(
                f"line {place} of {path} {what}: {line[:80]!r}. Expected lines such as '1 text'. Unpack it again."
            )
        found[number] = cells[1].strip()
    return found


def read_positions(path: Path, count: int) -> list[int]:
    """Return a JSON list of positions in a list of `count` images.

    Raises:
        DataLayoutError: if the file is no such list, or a position is out of range or occurs twice.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "test_idxs.json")
        >>> _ = path.write_text("[2, 0]")
        >>> read_positions(path, 3)
        [2, 0]
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataLayoutError(
            f"cannot read {path}: {error}. Expected a JSON list of positions. Copy it again."
        ) from error
    if not isinstance(content, Sequence) or not all(type(value) is int for value in content):
        raise DataLayoutError(f"{path} is not a list of whole numbers. Expected positions of images. Copy it again.")
    wrong = [value for value in content if not 0 <= value < count]
    if wrong or len(set(content)) < len(content):
        what = f"has positions outside 0 to {count - 1}: {listing(wrong)}" if wrong else "has a position twice"
        raise DataLayoutError(
            f"{path} {what}. Expected positions in the sorted list of the {count} images that are there, each once. "
            "Copy the list again, or complete the images."
        )
    return list(content)
