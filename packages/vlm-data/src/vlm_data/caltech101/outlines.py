"""The outlines of Caltech101: one MATLAB file per image, in folders of which four have names of their own."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from vlm_data.annotations import read_matlab
from vlm_data.errors import DataLayoutError
from vlm_data.evidence.annotation_files import AnnotationFiles, files_in_folders
from vlm_data.evidence.polygons import polygon_mask

ANNOTATIONS = "Annotations"
RENAMED = {
    "airplanes": "Airplanes_Side_2",
    "Faces": "Faces_2",
    "Faces_easy": "Faces_3",
    "Motorbikes": "Motorbikes_16",
}
"""Folders of annotations that are not called like the folder of the images."""


def outline_files(folder: Path, images: Iterable[tuple[str, Path]]) -> AnnotationFiles | None:
    """Return the evidence of images of Caltech101, or None where there is no folder `Annotations`.

    `CLASS/image_0001.jpg` belongs to `Annotations/CLASS/annotation_0001.mat`; images without such a file, those of the
    background class for example, have no evidence.

    Args:
        folder: holds `Annotations`.
        images: id and file of each image.
    """
    home = folder / ANNOTATIONS
    if not home.is_dir():
        return None
    present = files_in_folders(home)
    files: dict[str, Path] = {}
    for name, path in images:
        key = next((key for key in (RENAMED.get(path.parent.name), path.parent.name) if key in present), None)
        file = f"annotation_{path.stem.removeprefix('image_')}.mat"
        if key is not None and file in present[key]:
            files[name] = home / key / file
    return AnnotationFiles(files, outline_mask)


def outline_mask(path: Path, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return the inside of an outline, its boundary included.

    Raises:
        DataLayoutError: see `object_outline`.
    """
    return polygon_mask(object_outline(path), size)


def object_outline(path: Path) -> Int64[np.ndarray, "n 2"]:
    """Return the corners x, y of the outline in a file, in pixels of the image.

    The file has `obj_contour`, a row of x and a row of y relative to the box of the object, cut to whole pixels here,
    and `box_coord`: top, bottom, left, right.

    Raises:
        DataLayoutError: if the file is missing, damaged, or has no outline of three corners or more.
    """
    box, contour = (np.asarray(value) for value in read_matlab(path, "box_coord", "obj_contour"))
    numbers = all(np.issubdtype(value.dtype, np.number) and np.isfinite(value).all() for value in (box, contour))
    if not numbers or box.shape != (4,) or contour.ndim != 2 or contour.shape[0] != 2 or contour.shape[1] < 3:
        raise DataLayoutError(
            f"{path} has box_coord of shape {box.shape} and obj_contour of shape {contour.shape}. Expected 4 numbers "
            "and 2 rows of three or more. Unpack the annotations again."
        )
    corner = box.astype(np.int64)[[2, 0]]  # small unsigned numbers: the sum would overflow
    return np.trunc(contour).astype(np.int64).T + corner
