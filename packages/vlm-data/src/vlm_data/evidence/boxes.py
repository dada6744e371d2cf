"""Boxes around objects as masks."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Integer

from vlm_data.files import text_hash

CLEAN_SIDE, CLEAN_CROP = 256, 224
"""The published evaluation transform of ImageNet: shorter side to 256, centre of 224."""


def boxes_mask(boxes: Integer[np.ndarray, "k 4"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return the pixels in any of the boxes; parts outside the image are cut off.

    Args:
        boxes: x1, y1, x2, y2 in pixels; both corners are part of the box, as annotation files of data sets mean it.
        size: width and height of the image.

    Example:
        >>> boxes_mask(np.array([[0, 0, 1, 0], [3, 1, 9, 9]]), (5, 3)).astype(int)
        array([[1, 1, 0, 0, 0],
               [0, 0, 0, 1, 1],
               [0, 0, 0, 1, 1]])
    """
    mask = np.zeros((size[1], size[0]), dtype=bool)
    for x1, y1, x2, y2 in boxes.clip(min=(0, 0, -1, -1)).tolist():  # a negative start would count from the far side
        mask[y1 : y2 + 1, x1 : x2 + 1] = True
    return mask


def boxes_in_clean_crop(boxes: Integer[np.ndarray, "k 4"], size: tuple[int, int]) -> Integer[np.ndarray, "k 4"]:
    """Move boxes of an ImageNet image to its published view: shorter side 256, centre of 224 x 224.

    With `r = min(w, h) / 256` a corner goes to `trunc(x / r - (w / r - 224) / 2)`, y alike: the arithmetic of the
    published masks of prediction rationality, which moves corners instead of pixels. Boxes are not cut.

    Args:
        boxes: x1, y1, x2, y2 in pixels of the original.
        size: width and height of the original.

    Example:
        >>> boxes_in_clean_crop(np.array([[64, 0, 127, 255]]), (512, 256))
        array([[-80, -16, -17, 239]])
    """
    ratio = min(size) / CLEAN_SIDE
    offset = (np.array(size) / ratio - CLEAN_CROP) / 2
    return np.trunc(boxes.reshape(-1, 2, 2) / ratio - offset).astype(np.int64).reshape(-1, 4)


@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
    """Evidence known as boxes, see `vlm_data.evidence.source.EvidenceSource`.

    Attributes:
        boxes: for each sample id (k, 4) x1, y1, x2, y2 in pixels, both corners included; the mask is their union.

    Example:
        >>> Boxes({"a.png": np.array([[1, 1, 2, 2]])}).mask("a.png", (4, 4)).sum().item()
        4
    """

    boxes: Mapping[str, Integer[np.ndarray, "k 4"]]

    def knows(self, sample_id: str) -> bool:
        """Return whether there is evidence for an image, without opening any file."""
        return sample_id in self.boxes

    def mask(self, sample_id: str, size: tuple[int, int]) -> Bool[np.ndarray, "h w"] | None:
        """Return the union of the boxes of one image, or None where none are known."""
        return boxes_mask(self.boxes[sample_id], size) if self.knows(sample_id) else None

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of ids and boxes."""
        return text_hash(*(repr((name, boxes.tolist())) for name, boxes in sorted(self.boxes.items())))
