"""Tables with a row per image or per (image, caption), gathered into one entry per image."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64

from vlm_data.errors import DataLayoutError
from vlm_data.file_benchmark import SHIFT_PREFIX, SPLIT_WORDS
from vlm_data.table_columns import check_filled, column_codes, column_roles


@dataclasses.dataclass(frozen=True, eq=False)
class ImageTable:
    """What a table says about its images, in the order of first appearance.

    Attributes:
        images: n distinct paths as written.
        captions: n tuples of texts, or empty without such a column.
        labels: n class names or numbers as written, or empty.
        splits: n of `train`, `val`, `test`, `shift:NAME`, or empty.
        masks: n paths of masks as written, "" for images without one, or empty.
    """

    images: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...] = ()
    labels: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()


def image_table(table: pa.Table, path: Path) -> ImageTable:
    """Gather the rows of a table into one entry per image.

    Raises:
        DataLayoutError: if the table or a cell is empty, a column does not hold text, a split is not known, or rows
            of one image contradict each other.
    """
    roles = column_roles(table.column_names, path)
    if table.num_rows == 0:
        raise DataLayoutError(f"{path} is empty: it has columns but no rows. Expected one row per image. Fill it.")
    table = table.select(list(roles.values())).rename_columns(list(roles))
    kind = table["caption"].type if "caption" in roles else pa.null()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        table = _unnested(table, path)
    images, rows = column_codes(table["image"], "image", path)

    def per_image(role: str) -> tuple[str, ...]:
        if role not in roles:
            return ()
        values, codes = column_codes(table[role], role, path, may_be_empty=role == "evidence")
        return _agreed(values, codes, images, rows, role, path)

    splits = per_image("split")
    words = {word: _split(word, path) for word in sorted(set(splits))}
    return ImageTable(
        tuple(images),
        _grouped(*column_codes(table["caption"], "caption", path), rows) if "caption" in roles else (),
        per_image("label"),
        tuple(words[word] for word in splits),
        per_image("evidence"),
    )


def _unnested(table: pa.Table, path: Path) -> pa.Table:
    """Return a row for every caption of a column of lists of captions."""
    lists = table["caption"].to_pylist()
    check_filled(np.array([not captions for captions in lists]), "caption", path)
    parents = np.repeat(np.arange(len(lists)), [len(captions) for captions in lists])
    texts = pa.chunked_array([[text for captions in lists for text in captions]])
    return table.drop_columns("caption").take(pa.array(parents)).append_column("caption", texts)


def _agreed(
    values: list[str],
    codes: Int64[np.ndarray, " rows"],
    images: list[str],
    rows: Int64[np.ndarray, " rows"],
    role: str,
    path: Path,
) -> tuple[str, ...]:
    """Return the value of each image, after checking that all its rows have the same."""
    of_image = codes[np.unique(rows, return_index=True)[1]]
    clash: Bool[np.ndarray, " rows"] = codes != of_image[rows]
    if clash.any():
        row = int(clash.argmax())
        image = int(rows[row])
        raise DataLayoutError(
            f"{path} gives image {images[image]!r} two different values of {role}: {values[of_image[image]]!r} and "
            f"{values[codes[row]]!r} (row {row + 1}); {len(np.unique(rows[clash]))} images are affected. "
            "Expected one for each image. Correct the rows."
        )
    return tuple(values[code] for code in of_image)


def _grouped(
    captions: list[str], codes: Int64[np.ndarray, " rows"], rows: Int64[np.ndarray, " rows"]
) -> tuple[tuple[str, ...], ...]:
    order = np.argsort(rows, kind="stable")
    bounds = np.cumsum(np.bincount(rows))[:-1]
    return tuple(tuple(captions[code] for code in group) for group in np.split(codes[order], bounds))


def _split(word: str, path: Path) -> str:
    if word.lower().startswith(SHIFT_PREFIX) and word[len(SHIFT_PREFIX) :].strip():
        return SHIFT_PREFIX + word[len(SHIFT_PREFIX) :].strip()
    if word.lower() not in SPLIT_WORDS:
        raise DataLayoutError(
            f"{path} has the unknown split {word!r}. Expected train, val, test or shift:NAME. Correct the column."
        )
    return SPLIT_WORDS[word.lower()]
