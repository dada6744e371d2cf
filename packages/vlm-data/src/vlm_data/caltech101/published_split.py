"""The split of Caltech101 behind published numbers of rationales: every fifth annotated image is for testing."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlm_data.annotations import read_positions
from vlm_data.caltech101.outlines import outline_files
from vlm_data.class_folders import class_folders
from vlm_data.errors import DataLayoutError
from vlm_data.file_benchmark import FileList

ANNOTATED_LIST, NAMES_LIST = "yes_seg.json", "label_dict.json"
TEST_SHARE = 0.2


def published_files(whole: Path) -> tuple[list[str], FileList]:
    """Return the class names, background included, and the images of both splits in the published order.

    Names are those of the class folders in sorted order, capitals first, in lower case with blanks. Images without an
    annotation are left out: those not in `yes_seg.json` where that file is, else those without an outline, else the
    background. Nothing is for validation.

    Args:
        whole: the folder `101_ObjectCategories`; the two lists may lie one or two folders higher.

    Raises:
        DataLayoutError: if a list does not fit the images, or there are fewer than five images.
    """
    folders = class_folders(whole)
    keys = sorted(folders)
    names = [key.replace("_", " ").lower() for key in keys]
    rows = [(f"{key}/{path.name}", path, label) for label, key in enumerate(keys) for path in folders[key]]
    outlines = outline_files(whole.parent, [(name, path) for name, path, _ in rows])
    annotated = _beside(whole, ANNOTATED_LIST)
    _check_names(_beside(whole, NAMES_LIST), names)
    if annotated:
        kept = read_positions(annotated, len(rows))
    elif outlines:
        kept = [row for row, (name, _, _) in enumerate(rows) if name in outlines.files]
    else:
        kept = [row for row, (_, path, _) in enumerate(rows) if not path.parent.name.startswith("BACKGROUND")]
    splits = np.full(len(kept), "train", dtype=object)
    splits[list(held_out_positions(len(kept)))] = "test"
    files = FileList(
        tuple(rows[row][0] for row in kept),
        tuple(rows[row][1] for row in kept),
        np.array([rows[row][2] for row in kept], dtype=np.int64),
        splits,
        evidence_source=outlines,
    )
    return names, files


def held_out_positions(count: int) -> range:
    """Return which of `count` images are for testing: 1, 1 + s, 1 + 2 s, ... with s = count // int(0.2 count).

    The published program counts 0, s, 2 s, ... and adds 1, which for count mod s = 1 is past the last image; here such
    a position is left out. For the 8,677 images of the data set both are the same.

    Raises:
        DataLayoutError: for fewer than five images.

    Example:
        >>> list(held_out_positions(11)), len(held_out_positions(8677))
        ([1, 6], 1736)
    """
    size = int(TEST_SHARE * count)
    if size == 0:
        raise DataLayoutError(
            f"only {count} annotated images of caltech101 are there. Expected five or more, of which a fifth is for "
            "testing. Unpack the images and their annotations again."
        )
    return range(1, count, count // size)


def _beside(whole: Path, name: str) -> Path | None:
    places = (whole.parent.parent, whole.parent)
    return next((place / name for place in places if (place / name).is_file()), None)


def _check_names(path: Path | None, names: Sequence[str]) -> None:
    """Check that a list of names tells those that the folders have, so that labels mean the same."""
    if path is None:
        return
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataLayoutError(f"cannot read {path}: {error}. Expected names by label. Copy it again.") from error
    if content != {str(label): name for label, name in enumerate(names)}:
        raise DataLayoutError(
            f"{path} does not name the {len(names)} class folders in their sorted order. Expected "
            f'{{"0": "{names[0]}", "1": "{names[1] if len(names) > 1 else "..."}", ...}}. Complete the class folders, '
            "or remove the list to go by the folders."
        )
