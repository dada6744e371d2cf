"""Boxes around objects in XML files of the kind of Pascal VOC, as Stanford Dogs and ImageNet have them."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Bool, Int64

from vlm_data.errors import DataLayoutError
from vlm_data.evidence.boxes import boxes_mask

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def annotated_boxes_mask(path: Path, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return the union of all boxes of a file, on an image of this width and height.

    Raises:
        DataLayoutError: see `annotated_boxes`.
    """
    return boxes_mask(annotated_boxes(path, size), size)


def annotated_boxes(path: Path, size: tuple[int, int]) -> Int64[np.ndarray, "k 4"]:
    """Return the boxes of all objects in a file as x1, y1, x2, y2, both corners inclusive, in pixels of the image.

    They refer to the width and height that the file tells. An image of another size shows the same picture larger or
    smaller (so ImageNet explains its boxes), and they are scaled to it.

    Args:
        path: of the XML file.
        size: width and height of the image as decoded.

    Raises:
        DataLayoutError: if the file is missing, damaged, has no object, or a box without four corners in order.
    """
    try:
        tree = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise DataLayoutError(
            f"cannot read {path}: {error}. Expected the XML file of the authors. Unpack the annotations again."
        ) from error
    boxes = [_corners(path, found.find("bndbox")) for found in tree.iter("object")]
    if not boxes:
        raise DataLayoutError(f"{path} has no object. Expected one or more with a box. Unpack the annotations again.")
    told = np.array([_number(tree.find(f"size/{side}")) for side in ("width", "height")])
    scale = np.where(told > 0, np.array(size) / np.maximum(told, 1), 1.0)
    first, after = np.array(boxes)[:, :2], np.array(boxes)[:, 2:] + 1
    return np.concatenate([np.rint(first * scale), np.rint(after * scale) - 1], axis=1).astype(np.int64)


def _corners(path: Path, box: ElementTree.Element | None) -> list[int]:
    corners = [] if box is None else [_number(box.find(corner)) for corner in CORNERS]
    if len(corners) < 4 or min(corners) < 0 or corners[0] > corners[2] or corners[1] > corners[3]:
        raise DataLayoutError(
            f"{path} has an object whose box is {corners or 'missing'}. Expected {', '.join(CORNERS)} in pixels, the "
            "first two at most as large as the last two. Unpack the annotations again."
        )
    return corners


def _number(element: ElementTree.Element | None) -> int:
    """Return the whole part of the number in an element, -1 where there is none."""
    try:
        return int(float((element.text if element is not None else None) or "-1"))
    except (ValueError, OverflowError):
        return -1
