"""Outlines of objects as masks."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer
from PIL import Image, ImageDraw

from vlm_data.evidence.digest import arrays_digest


def polygon_mask(
    points: Integer[np.ndarray, "n 2"] | Float[np.ndarray, "n 2"], size: tuple[int, int]
) -> Bool[np.ndarray, "h w"]:
    """Return the pixels inside a closed outline, those on it included; parts outside the image are cut off.

    Args:
        points: x and y of the corners in order, in pixels; fractions are cut off, as in the published masks.
        size: width and height of the image.

    Example:
        >>> polygon_mask(np.array([[0, 0], [3, 0], [0, 3]]), (5, 4)).astype(int)
        array([[1, 1, 1, 1, 0],
               [1, 1, 1, 0, 0],
               [1, 1, 0, 0, 0],
               [1, 0, 0, 0, 0]])
    """
    canvas = Image.new("1", size)
    corners = [(int(x), int(y)) for x, y in points]
    if len(corners) == 1:
        corners *= 2
    if corners:
        ImageDraw.Draw(canvas).polygon(corners, fill=1, outline=1)
    return np.asarray(canvas)


@dataclasses.dataclass(frozen=True, eq=False)
class Polygons:
    """Evidence known as outlines, see `vlm_data.evidence.source.EvidenceSource`.

    Attributes:
        outlines: for each sample id the outlines of its objects, (n, 2) x and y in pixels; the mask is their union.

    Example:
        >>> triangle = np.array([[0, 0], [3, 0], [0, 3]])
        >>> Polygons({"a.png": (triangle,)}).mask("a.png", (4, 4)).sum().item()
        10
    """

    outlines: Mapping[str, Sequence[Integer[np.ndarray, "n 2"] | Float[np.ndarray, "n 2"]]]

    def knows(self, sample_id: str) -> bool:
        """Return whether there is evidence for an image, without opening any file."""
        return sample_id in self.outlines

    def mask(self, sample_id: str, size: tuple[int, int]) -> Bool[np.ndarray, "h w"] | None:
        """Return the union of the outlines of one image, or None where none are known."""
        if not self.knows(sample_id):
            return None
        whole = np.zeros((size[1], size[0]), dtype=bool)
        for points in self.outlines[sample_id]:
            whole |= polygon_mask(points, size)
        return whole

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of ids and outlines."""
        return arrays_digest("polygons", self.outlines)
