"""Boxes in a CSV file: one row per box."""

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

from vlm_data.errors import DataLayoutError, listing
from vlm_data.evidence.annotated import AnnotationFile, MarkedObject
from vlm_data.evidence.shapes import Box

CORNERS = ("x1", "y1", "x2", "y2")
_COLUMNS = ("image", *CORNERS)
_CATEGORY = ("class", "label")
_SEPARATORS = ",;\t"


def read_box_table(path: Path) -> AnnotationFile:
    """Read the columns image, x1, y1, x2, y2 and, where there is one, class; x2 and y2 are exclusive.

    Raises:
        DataLayoutError: if the file is no such table, a cell is empty or no number, or a box has no area.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
        separator = max(_SEPARATORS, key=text.partition("\n")[0].count)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _wrong(path, f"cannot be read: {error}") from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    columns = _columns(path, header)
    objects: dict[str, list[MarkedObject]] = {}
    for number, row in enumerate(rows[1:], start=1):
        if not any(cell.strip() for cell in row):
            continue
        try:
            cells = {role: row[place].strip() for role, place in columns.items()}
            if not cells["image"]:
                raise ValueError("the image is not named")
            x1, y1, x2, y2 = (float(cells[corner]) for corner in CORNERS)
            marked = MarkedObject(Box(x1, y1, x2, y2), cells.get("class", ""))
        except IndexError as error:
            raise _wrong(path, f"has {len(row)} cells in row {number}, its header {len(header)}") from error
        except ValueError as error:
            raise _wrong(path, f"has a broken row {number}: {error}") from error
        objects.setdefault(cells["image"], []).append(marked)
    if not objects:
        raise _wrong(path, "has no rows, so it is evidence for no image")
    return AnnotationFile(path, hashlib.sha256(data).hexdigest(), objects)


def _columns(path: Path, header: list[str]) -> Mapping[str, int]:
    """Return in which place each column stands."""
    lacking = [name for name in _COLUMNS if header.count(name) != 1]
    if lacking:
        raise _wrong(path, f"has not exactly one column {listing(lacking)}; it has {listing(header, most=10)}")
    places = {name: header.index(name) for name in _COLUMNS}
    category = [header.index(name) for name in _CATEGORY if name in header]
    return places | ({"class": category[0]} if category else {})


def _wrong(path: Path, what: str) -> DataLayoutError:
    return DataLayoutError(
        f"{path} {what}. Expected one box per row in the columns image, x1, y1, x2, y2 and, if wanted, class, in "
        "pixels, with x1 < x2 and y1 < y2. Correct the file."
    )
