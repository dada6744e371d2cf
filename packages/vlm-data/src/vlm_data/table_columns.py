"""Columns of a table of images: which holds what, and what is in their cells."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Bool, Int64

from vlm_data.errors import DataLayoutError, listing
from vlm_data.evidence.own import EVIDENCE_LAYOUT

_compute: Any = pyarrow.compute  # fills itself with functions when imported; its annotations know few of them

ALIASES = {
    "image": ("image", "filepath", "path", "file_name"),
    "caption": ("caption", "title", "text"),
    "label": ("label", "class"),
    "split": ("split",),
    "evidence": ("evidence", "mask"),
}
TABLE_LAYOUT = (
    """\
column image   (or filepath, path, file_name): image file, relative to the table's folder or to --data-root
column caption (or title, text): a text that describes the image; several rows with one image are several captions
column label   (or class): name or number of the class; without it, the captions of val and test are the classes
column split   optional: train, val, test or shift:NAME; without it 80/10/10 are drawn with the seed
column evidence (or mask) optional: mask of the image as PNG, white on what a right answer should rest on; may be empty
classnames.txt beside the table, optional: lines 'label<TAB>display name', or the name of class 0, 1, ... per line
templates.txt  beside the table, optional: one prompt a line with {c}; else 'a photo of a {c}.'
Other columns are ignored.
"""
    + EVIDENCE_LAYOUT
)


def column_roles(names: Sequence[str], path: Path) -> dict[str, str]:
    """Return which column plays which role: image, caption, label, split, evidence; capitals do not matter.

    Raises:
        DataLayoutError: if the image column is missing, or captions and labels both are, or two columns claim a role.

    Example:
        >>> column_roles(["title", "filepath", "width"], Path("train.csv"))
        {'image': 'filepath', 'caption': 'title'}
    """
    roles: dict[str, str] = {}
    for role, aliases in ALIASES.items():
        columns = [name for name in names if name.strip().lower() in aliases]
        if len(columns) > 1:
            raise DataLayoutError(
                f"{path} has {len(columns)} columns for the {role}: {listing(columns)}. Expected one. "
                "Rename the others; columns with other names are ignored."
            )
        if columns:
            roles[role] = columns[0]
    if "image" not in roles or not {"caption", "label"} & roles.keys():
        lack = "image" if "image" not in roles else "caption or label"
        expected = [alias for role in lack.split(" or ") for alias in ALIASES[role]]
        raise DataLayoutError(
            f"{path} has no {lack} column; it has {listing(names, most=10)}. "
            f"Expected a column named {', '.join(expected[:-1])} or {expected[-1]}. Rename or add it."
        )
    return roles


def column_codes(
    column: pa.ChunkedArray, role: str, path: Path, *, may_be_empty: bool = False
) -> tuple[list[str], Int64[np.ndarray, " rows"]]:
    """Return the distinct values of a column as trimmed text, in order of appearance, and which of them each row has.

    A table with a row per (image, template) repeats few texts very often, so everything is done once per distinct one.

    Args:
        column: of text or whole numbers.
        role: what it holds, for messages.
        path: of the table, for messages.
        may_be_empty: whether empty cells and NaN are the value "" instead of an error.

    Raises:
        DataLayoutError: if a cell is empty or NaN, or the column holds neither text nor whole numbers.

    Example:
        >>> column_codes(pa.chunked_array([["cat ", "dog"], ["cat"]]), "label", Path("train.csv"))
        (['cat', 'dog'], array([0, 1, 0]))
    """
    encoded = _as_text(column, role, path).dictionary_encode().unify_dictionaries().combine_chunks()
    trimmed = _compute.utf8_trim_whitespace(encoded.dictionary).dictionary_encode()
    merged = np.append(trimmed.indices.to_numpy(zero_copy_only=False), -1)  # the last is for null
    codes = merged[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)].astype(np.int64)
    values = trimmed.dictionary.to_pylist()
    blank = np.array([value.lower() in ("", "nan") for value in values] + [True])
    if may_be_empty:
        return [*values, ""], np.where(blank[codes], len(values), codes)
    check_filled(blank[codes], role, path)
    return values, codes


def check_filled(blank: Bool[np.ndarray, " rows"], role: str, path: Path) -> None:
    """Check that no row of a column is blank.

    Raises:
        DataLayoutError: with the number of blank rows and the first three of them, counted from 1.
    """
    rows = np.flatnonzero(blank)
    if len(rows):
        shown = ", ".join(str(row + 1) for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
        raise DataLayoutError(
            f"column {role} of {path} is empty or NaN in {len(rows)} of {len(blank)} rows: {shown} "
            "(the first is row 1). Expected a value in every row. "
            "Fill these cells, or remove the rows or the whole column."
        )


def _as_text(column: pa.ChunkedArray, role: str, path: Path) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        if pa.types.is_floating(column.type):  # pandas makes whole numbers floats when a cell is empty
            column = _compute.if_else(_compute.is_nan(column), None, column).cast(pa.int64())
        return column.cast(pa.string())
    except pa.ArrowException as error:
        raise DataLayoutError(
            f"column {role} of {path} holds {column.type}: {error}. Expected text or whole numbers. Convert the column."
        ) from error
