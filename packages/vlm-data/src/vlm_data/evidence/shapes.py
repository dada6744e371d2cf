"""Shapes in which people mark objects: boxes, outlines, runs of pixels. Each fits an image or says why not."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float64

from vlm_data.evidence.boxes import boxes_mask
from vlm_data.evidence.polygons import polygon_mask
from vlm_data.evidence.run_lengths import decode_counts, runs_mask

SLACK = 1.0
"""Pixels that a shape may reach over the border, where it is cut: programs round differently."""


class Shape(Protocol):
    """What one annotation marks."""

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """Return the marked pixels of an image of this width and height.

        Raises:
            ValueError: if the shape does not fit the image; the message says why.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Box:
    """The pixels that a rectangle touches; `x2` and `y2` are exclusive, so (0, 0, w, h) is the whole image.

    Raises:
        ValueError: if it is not finite or has no area.

    Example:
        >>> Box(1, 0, 2.5, 2).mask((4, 2)).astype(int)
        array([[0, 1, 1, 0],
               [0, 1, 1, 0]])
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, dataclasses.astuple(self))) or self.x1 >= self.x2 or self.y1 >= self.y2:
            raise ValueError(f"the box {_numbers(dataclasses.astuple(self))} has no area; expected x1 < x2 and y1 < y2")

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """Return the marked pixels; a box outside of the image is a `ValueError`."""
        corners = np.array(dataclasses.astuple(self), dtype=np.float64)
        _check_inside("box", corners, corners.reshape(2, 2), size)
        pixels = [math.floor(self.x1), math.floor(self.y1), math.ceil(self.x2) - 1, math.ceil(self.y2) - 1]
        return boxes_mask(np.array([pixels]), size)


@dataclasses.dataclass(frozen=True, eq=False)
class Outline:
    """The pixels inside an outline and on it.

    Attributes:
        points: (n, 2) x and y, three or more.

    Raises:
        ValueError: for fewer points, or numbers that are not finite.
    """

    points: Float64[np.ndarray, "n 2"]

    def __post_init__(self) -> None:
        if len(self.points) < 3 or not np.isfinite(self.points).all():
            raise ValueError(f"an outline has {len(self.points)} points; expected three or more, all of them numbers")

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """Return the marked pixels; an outline outside of the image is a `ValueError`."""
        bounds = np.stack([self.points.min(axis=0), self.points.max(axis=0)])
        _check_inside("outline within", bounds.reshape(-1), bounds, size)
        return polygon_mask(self.points, size)


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """The pixels of run lengths, see `vlm_data.evidence.run_lengths`.

    Attributes:
        counts: the lengths, or their compressed form, which is read when the mask is asked for.
        size: width and height of the image that they were made of.
    """

    counts: Sequence[int] | str
    size: tuple[int, int]

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """Return the marked pixels; runs of another image size are a `ValueError`."""
        if size != self.size:
            raise ValueError(
                f"its run lengths are those of an image of {self.size[0]} x {self.size[1]} pixels, but the image has "
                f"{size[0]} x {size[1]}"
            )
        return runs_mask(decode_counts(self.counts) if isinstance(self.counts, str) else self.counts, size)


def _check_inside(
    what: str, shown: Float64[np.ndarray, "4"], corners: Float64[np.ndarray, "2 2"], size: tuple[int, int]
) -> None:
    if (corners < -SLACK).any() or (corners > np.array(size) + SLACK).any():
        raise ValueError(f"the {what} {_numbers(shown.tolist())} leaves the image of {size[0]} x {size[1]} pixels")


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
