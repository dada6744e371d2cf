"""One image under its relevance map, with the outline of its evidence."""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from vlm_data.errors import CallError
from vlm_explain.pictures.colours import EVIDENCE, heat_colours, rgb

SIDE = 192
"""Pixels of the longer side of a picture, by default."""
_DIMMED = 0.45
"""Share of its brightness that an image keeps where nothing is relevant: colours of relevance then stand out."""
_MOST = 0.88
"""Opacity of the colour where relevance is highest: the image stays visible under it."""


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    heatmap: Float[np.ndarray, "h2 w2"] | None = None,
    evidence: Bool[np.ndarray, "h3 w3"] | None = None,
    *,
    side: int = SIDE,
) -> Image.Image:
    """Draw an image, its relevance in colours that cover it where relevance is high, and the outline of evidence.

    Small images are enlarged by whole pixels as far as that goes; maps and masks may have another size than the image.

    Args:
        image: what the model sees.
        heatmap: values in [0, 1]; None = the image as it is. A map that is zero everywhere dims the image only.
        evidence: mask of what a right answer should rest on.
        side: longer side of the picture in pixels.

    Raises:
        CallError: if values of the map lie outside of [0, 1].

    Example:
        >>> overlay(np.zeros((8, 16, 3), dtype=np.uint8), np.eye(4), side=64).size
        (64, 32)
    """
    scale = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    picture = _resized(Image.fromarray(image), size)
    if heatmap is not None:
        if not (np.isfinite(heatmap).all() and heatmap.min() >= 0 and heatmap.max() <= 1):
            raise CallError(
                f"a map to draw has values from {heatmap.min():g} to {heatmap.max():g}; expected 0 to 1. "
                "vlm_explain.relevance.heatmap.heat_maps stretches maps to it."
            )
        picture = _blended(picture, heatmap)
    return picture if evidence is None else _outlined(picture, evidence)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if size[0] < image.width:
        return image.resize(size, Image.Resampling.LANCZOS)
    whole = size[0] // image.width  # whole pixels first: digits of 32 pixels stay sharp
    enlarged = image.resize((image.width * whole, image.height * whole), Image.Resampling.NEAREST)
    return enlarged if enlarged.size == size else enlarged.resize(size, Image.Resampling.BICUBIC)


def _blended(picture: Image.Image, heatmap: np.ndarray) -> Image.Image:
    smooth = Image.fromarray(heatmap.astype(np.float32)).resize(picture.size, Image.Resampling.BILINEAR)
    values = np.asarray(smooth).clip(0, 1)
    below = np.asarray(picture, dtype=np.float64)
    grey = below.mean(axis=2, keepdims=True)
    dimmed = (0.5 * below + 0.5 * grey) * (_DIMMED + (1 - _DIMMED) * values[..., None])
    opacity = _MOST * values[..., None]
    return Image.fromarray((dimmed * (1 - opacity) + heat_colours(values) * opacity).round().astype(np.uint8))


def _outlined(picture: Image.Image, evidence: np.ndarray) -> Image.Image:
    """Draw the border of a mask: a line of the evidence colour inside, a dark one around it, for any background."""
    mask = np.asarray(Image.fromarray(evidence).resize(picture.size, Image.Resampling.NEAREST))
    width = max(1, round(max(picture.size) / 128))
    pixels = np.asarray(picture).copy()
    pixels[_grown(mask, max(1, width // 2)) & ~mask] = (0, 0, 0)
    pixels[mask & _grown(~mask, width)] = rgb(EVIDENCE)
    return Image.fromarray(pixels)


def _grown(mask: Bool[np.ndarray, "h w"], steps: int) -> Bool[np.ndarray, "h w"]:
    """Return the mask with all pixels within `steps` of it, along rows, columns and diagonals."""
    for axis in (0, 1):
        parts = [np.roll(mask, step, axis=axis) for step in range(-steps, steps + 1)]
        for step, part in zip(range(-steps, steps + 1), parts, strict=True):
            edge = slice(0, step) if step > 0 else slice(part.shape[axis] + step, None) if step < 0 else slice(0, 0)
            part[(slice(None),) * axis + (edge,)] = False  # what was rolled around the border
        mask = np.logical_or.reduce(parts)
    return mask
