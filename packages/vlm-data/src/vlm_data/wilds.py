"""Data sets of WILDS: one table of metadata with a row per image, and one folder of images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Bool, Shaped

from vlm_data.errors import DataLayoutError, listing
from vlm_data.file_benchmark import SHIFT_PREFIX, FileList
from vlm_data.published import require_files

OOD = f"{SHIFT_PREFIX}ood"
"""The official test set under another distribution; that of validation is not used."""


def read_columns(path: Path, names: Sequence[str]) -> dict[str, Shaped[np.ndarray, " rows"]]:
    """Return columns of a CSV file as text, an empty cell as empty text.

    Raises:
        DataLayoutError: if the file cannot be read, lacks a column, or has no rows.
    """
    options = pyarrow.csv.ConvertOptions(
        include_columns=list(names), column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    try:
        table = pyarrow.csv.read_csv(
            path, convert_options=options, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)
        )
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataLayoutError(
            f"cannot read {path}: {error}. Expected the table of WILDS with the columns {', '.join(names)}. "
            "Download it again."
        ) from error
    if table.num_rows == 0:
        raise DataLayoutError(f"{path} has no rows. Expected one per image. Download it again.")
    return {name: table[name].to_numpy() for name in names}


def listed_files(
    name: str,
    images: Path,
    files: Shaped[np.ndarray, " rows"],
    labels: Sequence[int],
    splits: Shaped[np.ndarray, " rows"],
    groups: dict[str, Shaped[np.ndarray, " rows"]] | None = None,
) -> FileList:
    """Return the images of all splits that are used.

    Args:
        name: of the data set, for messages.
        images: folder with all images.
        files: name of each image in it.
        labels: class of each image.
        splits: `train`, `val`, `test` or `OOD`; empty for images that are not used.
        groups: attribute to one value for each image.

    Raises:
        DataLayoutError: if a split has no images, or files of the table are not there.
    """
    used: Bool[np.ndarray, " rows"] = splits != ""
    missing_splits = sorted({"train", "val", "test", OOD} - set(splits[used]))
    if missing_splits:
        raise DataLayoutError(f"the table of {name} has no images for {listing(missing_splits)}. Expected all splits.")
    rows = np.flatnonzero(used).tolist()
    require_files(name, images, [str(files[row]) for row in rows])
    return FileList(
        ids=tuple(str(files[row]) for row in rows),
        paths=tuple(images / str(files[row]) for row in rows),
        labels=np.array([labels[row] for row in rows], dtype=np.int64),
        splits=splits[rows].astype(object),
        groups={attribute: tuple(str(values[row]) for row in rows) for attribute, values in (groups or {}).items()},
    )
