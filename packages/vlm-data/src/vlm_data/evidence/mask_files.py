"""Masks drawn as pictures: one grey picture per image, white on the evidence."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from vlm_data.errors import DataLayoutError

HALF = 128
"""Grey levels from which on a pixel is evidence."""


def mask_levels(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Return how much of each pixel is evidence, 0 to 255, as a picture tells it.

    Grey pictures tell levels; of 16 bits the upper eight are kept, and one that holds only 0 and 1 means 0 and 255.
    In pictures with colours (a palette, or red, green and blue) black is background and every colour evidence.

    Raises:
        DataLayoutError: if the file is no picture, is cut off, or has transparency, which may be the mask or not.
    """
    try:
        with Image.open(path) as image:
            if "A" in image.getbands() or "transparency" in image.info:
                raise ValueError("it has transparency, and whether that or the colour is the mask cannot be known")
            if image.mode.startswith("I;16"):
                levels = (np.asarray(image) >> 8).astype(np.uint8)
            elif image.mode in ("1", "L"):
                levels = np.asarray(image.convert("L"))
            else:
                levels = np.where(np.asarray(image.convert("RGB")).any(axis=2), 255, 0).astype(np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataLayoutError(
            f"cannot read the mask {path}: {error}. Expected a whole grey picture of the size of its image, white on "
            "the evidence. Save it again."
        ) from error
    return levels * np.uint8(255) if levels.max(initial=0) == 1 else levels


def object_mask(path: Path, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return the evidence of a mask picture that somebody drew: levels of `HALF` or more; for `AnnotationFiles`.

    Args:
        path: of the picture.
        size: of the image, which the data set compares.

    Raises:
        DataLayoutError: as for `mask_levels`; and for levels that all stay below the middle, as numbers of classes do:
            nothing would be evidence.
    """
    levels = mask_levels(path)
    most = int(levels.max(initial=0))
    if 0 < most < HALF:
        raise DataLayoutError(
            f"the mask {path} has grey levels up to {most}; expected 0 and 255, or 0 and 1, or shades of which the "
            f"evidence has {HALF} or more. If the levels are numbers of classes, save what is evidence as white."
        )
    return levels >= HALF
