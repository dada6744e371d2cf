"""The shipped glyphs: digits 0-9 in printed fonts, the raw material of rendered images.

`vlm_data.digits.glyph_drawing` makes the two sheets; reading them needs Pillow and no font.
"""

import functools

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vlm_data.asset import asset_path

GLYPH_SIZE = 32
"""Side of a glyph in pixels."""
GLYPH_EXTENT = 0.75
"""Longest side of the ink as a share of the glyph's frame."""
WEIGHTS = ("regular", "bold", "thin")
FONTS = {
    "pretraining": (
        "DejaVuSans",
        "DejaVuSans-Bold",
        "DejaVuSans-Oblique",
        "DejaVuSerif",
        "DejaVuSerif-Bold",
        "DejaVuSerif-Italic",
        "DejaVuSansMono",
        "cmr10",
        "cmss10",
        "cmb10",
        "Aileron-Regular",
    ),
    "heldout": ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmti10", "cmtt10"),
}
"""Fonts seen in pre-training, and those kept for the `render` shift."""


@functools.cache
def glyphs(fonts: str) -> UInt8[np.ndarray, "styles 10 32 32"]:
    """Return the glyphs of a group of fonts; a style is one font in one weight, weights vary fastest.

    Args:
        fonts: `"pretraining"` (33 styles) or `"heldout"` (15 styles).

    Example:
        >>> glyphs("heldout").shape
        (15, 10, 32, 32)
    """
    with Image.open(asset_path(f"digits/glyphs-{fonts}.png")) as image:
        return cut_sheet(np.asarray(image))


def cut_sheet(sheet: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "styles 10 32 32"]:
    """Cut a sheet (one row per style, one column per digit) into glyphs."""
    styles = sheet.shape[0] // GLYPH_SIZE
    return np.ascontiguousarray(sheet.reshape(styles, GLYPH_SIZE, 10, GLYPH_SIZE).swapaxes(1, 2))


def join_sheet(drawn: UInt8[np.ndarray, "styles 10 32 32"]) -> UInt8[np.ndarray, "height width"]:
    """Put glyphs side by side: the inverse of `cut_sheet`.

    Example:
        >>> bool((cut_sheet(join_sheet(glyphs("heldout"))) == glyphs("heldout")).all())
        True
    """
    return drawn.swapaxes(1, 2).reshape(len(drawn) * GLYPH_SIZE, 10 * GLYPH_SIZE)
