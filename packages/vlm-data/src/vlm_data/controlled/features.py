"""Features that are planted: a shape of one colour that fills a box."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from vlm_data.errors import CallError, unknown_name

_Coordinates = Float64[np.ndarray, "h w"]


def _triangle(x: _Coordinates, y: _Coordinates) -> Bool[np.ndarray, "h w"]:
    return 2 * np.abs(x) <= 1.125 + y  # a blunt tip at the top: a sharp one lies between two pixels


def _cross(x: _Coordinates, y: _Coordinates) -> Bool[np.ndarray, "h w"]:
    return np.minimum(np.abs(x), np.abs(y)) <= 1 / 3


def _frame(x: _Coordinates, y: _Coordinates) -> Bool[np.ndarray, "h w"]:
    return np.maximum(np.abs(x), np.abs(y)) >= 0.6


SHAPES: dict[str, Callable[[_Coordinates, _Coordinates], Bool[np.ndarray, "h w"]]] = {
    "rectangle": lambda x, y: np.full(np.broadcast_shapes(x.shape, y.shape), True),
    "disc": lambda x, y: x**2 + y**2 <= 1,
    "ring": lambda x, y: (x**2 + y**2 <= 1) & (x**2 + y**2 >= 0.36),
    "triangle": _triangle,
    "cross": _cross,
    "frame": _frame,
    "diamond": lambda x, y: np.abs(x) + np.abs(y) <= 1,
}
"""For each shape, which points of the square [-1, 1] x [-1, 1] (x to the right, y down) belong to it."""

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "orange": (255, 128, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
}


@dataclasses.dataclass(frozen=True)
class Feature:
    """A shape and its colour; settings of the RaVL paper have the red rectangle.

    Attributes:
        shape: one of `SHAPES`; also the word by which tables of regions call it.
        colour: one of `COLOURS`.

    Example:
        >>> str(Feature.of("blue disc")), Feature.of("blue disc").rgb
        ('blue disc', (0, 0, 255))
    """

    shape: str = "rectangle"
    colour: str = "red"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise unknown_name("shape", self.shape, SHAPES)
        if self.colour not in COLOURS:
            raise unknown_name("colour", self.colour, COLOURS)

    @classmethod
    def of(cls, text: str) -> "Feature":
        """Read colour and shape as a user writes them; one of them may be left out, and is red or rectangle then.

        Raises:
            CallError: for a shape or a colour that is not known, or further words.
        """
        words = text.lower().replace("-", " ").split()
        if len(words) == 2:
            return cls(words[1], words[0])
        if len(words) == 1 and (words[0] in COLOURS or words[0] in SHAPES):
            return cls(colour=words[0]) if words[0] in COLOURS else cls(words[0])
        if len(words) == 1:
            raise unknown_name("shape or colour", words[0], [*SHAPES, *COLOURS])
        raise CallError(
            f"the feature {text!r} is not a colour and a shape; write for example 'red rectangle'. "
            f"Colours: {', '.join(COLOURS)}. Shapes: {', '.join(SHAPES)}."
        )

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, from 0 to 255."""
        return COLOURS[self.colour]

    def mask(self, width: int, height: int) -> Bool[np.ndarray, "h w"]:
        """Return which pixels of a box of this size the shape covers.

        Example:
            >>> Feature("cross").mask(3, 3).astype(int).tolist()
            [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
        """
        x, y = ((2 * np.arange(size) + 1) / size - 1 for size in (width, height))
        return SHAPES[self.shape](x[None, :], y[:, None])


def draw_feature(
    image: UInt8[np.ndarray, "h w 3"], box: Sequence[float], feature: Feature
) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image with the feature drawn over a box.

    Args:
        image: stays as it is.
        box: x1, y1, x2, y2 in pixels, rounded; x2 and y2 are exclusive. It may reach over the border.
        feature: what is drawn; pixels of the box outside of its shape stay.

    Raises:
        CallError: if the box covers no pixel of the image.

    Example:
        >>> draw_feature(np.zeros((2, 2, 3), np.uint8), (1, 0, 2, 2), Feature())[0].tolist()
        [[0, 0, 0], [255, 0, 0]]
    """
    x1, y1, x2, y2 = (round(corner) for corner in box)
    height, width = image.shape[:2]
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if left >= right or top >= bottom:
        raise CallError(
            f"the box {list(box)} covers no pixel of an image of {width} x {height}; expected x1 < x2 in it."
        )
    covered = feature.mask(x2 - x1, y2 - y1)[top - y1 : bottom - y1, left - x1 : right - x1]
    drawn = image.copy()
    drawn[top:bottom, left:right][covered] = feature.rgb
    return drawn
