"""Draw the glyph bank again from the fonts that matplotlib and Pillow bundle.

Only this command needs fonts: `python -m vlm_data.digits.glyph_drawing [DIRECTORY]` writes the two sheets
(default: into the package's assets). The shipped sheets were drawn with matplotlib 3.11 and Pillow 13.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from vlm_data.asset import asset_path
from vlm_data.digits.glyph_bank import FONTS, GLYPH_EXTENT, GLYPH_SIZE, join_sheet
from vlm_data.errors import VlmDataError
from vlm_data.files import replacing

_FRAME = 2 * GLYPH_SIZE
_POINTS = 200
"""Size at which a digit is drawn before it is reduced, so that hinting does not matter."""


def _font(name: str) -> ImageFont.FreeTypeFont:
    if name == "Aileron-Regular":
        font = ImageFont.load_default(_POINTS)
        assert isinstance(font, ImageFont.FreeTypeFont)  # any size gives the outline font, not the bitmap one
        return font
    try:
        data = Path(importlib.import_module("matplotlib").get_data_path())
    except ModuleNotFoundError as error:
        raise VlmDataError(
            "matplotlib is not installed, and drawing the glyph bank needs the fonts it bundles. "
            "Install it (`pip install matplotlib`); reading the shipped bank needs no fonts."
        ) from error
    path = data / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(path), _POINTS, layout_engine=ImageFont.Layout.BASIC)


def _draw(font: ImageFont.FreeTypeFont, digit: int) -> UInt8[np.ndarray, "64 64"]:
    canvas = Image.new("L", (2 * _POINTS, 2 * _POINTS))
    ImageDraw.Draw(canvas).text((_POINTS // 2, _POINTS // 2), str(digit), fill=255, font=font)
    ink = canvas.crop(canvas.getbbox())
    scale = GLYPH_EXTENT * _FRAME / max(ink.size)
    ink = ink.resize((round(ink.width * scale), round(ink.height * scale)), Image.Resampling.BOX)
    frame = Image.new("L", (_FRAME, _FRAME))
    frame.paste(ink, ((_FRAME - ink.width) // 2, (_FRAME - ink.height) // 2))
    return np.asarray(frame)


def _pool(image: UInt8[np.ndarray, "h w"], size: int, largest: bool) -> UInt8[np.ndarray, "h w"]:
    padded = np.pad(image, size // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return windows.max(axis=(2, 3)) if largest else windows.min(axis=(2, 3))


def _thin(image: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    eroded = _pool(image, 3, largest=False)
    hairlines = image - _pool(eroded, 3, largest=True)  # what erosion would lose altogether stays as it was drawn
    return np.maximum(eroded, hairlines)


def _reduce(image: UInt8[np.ndarray, "64 64"]) -> UInt8[np.ndarray, "32 32"]:
    blocks = image.reshape(GLYPH_SIZE, 2, GLYPH_SIZE, 2).astype(np.uint16).sum(axis=(1, 3))
    return ((blocks + 2) // 4).astype(np.uint8)


def draw_glyphs(fonts: str) -> UInt8[np.ndarray, "styles 10 32 32"]:
    """Draw digits 0-9 in every font of a group, each as it is, bolder (5 x 5 maximum) and thinner (3 x 3 minimum).

    Strokes that the minimum would erase keep their width, so that no digit falls to pieces.

    Raises:
        VlmDataError: if matplotlib is not installed.
    """
    styles = []
    for name in FONTS[fonts]:
        font = _font(name)
        drawn = [_draw(font, digit) for digit in range(10)]
        styles += [
            [_reduce(image) for image in drawn],
            [_reduce(_pool(image, 5, largest=True)) for image in drawn],
            [_reduce(_thin(image)) for image in drawn],
        ]
    return np.array(styles)


def write_sheets(directory: Path) -> list[Path]:
    """Draw both groups of fonts and write `glyphs-pretraining.png` and `glyphs-heldout.png` into `directory`."""
    written = []
    for fonts in FONTS:
        path = directory / f"glyphs-{fonts}.png"
        with replacing(path) as temporary:
            Image.fromarray(join_sheet(draw_glyphs(fonts))).save(temporary, format="PNG", optimize=True)
        written.append(path)
    return written


if __name__ == "__main__":
    for sheet in write_sheets(Path(sys.argv[1]) if len(sys.argv) > 1 else asset_path("digits")):
        sys.stdout.write(f"{sheet}\n")
