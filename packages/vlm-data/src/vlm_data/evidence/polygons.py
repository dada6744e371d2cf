"""Outlines of objects as masks."""

import numpy as np
from jaxtyping import Bool, Float, Integer
from PIL import Image, ImageDraw


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
