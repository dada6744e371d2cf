"""Pictures in rows and columns, with words under and above them."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from vlm_data.errors import CallError
from vlm_data.files import write_bytes
from vlm_explain.pictures.colours import EVIDENCE, FAINT, INK, PAPER, heat_colours
from vlm_explain.pictures.overlay import SIDE, overlay

_FONT_SIZE, _LINE, _GAP, _MARGIN = 13, 17, 8, 12


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture with the words under it.

    Attributes:
        picture: what is shown.
        lines: words under it, each with its colour.
    """

    picture: Image.Image
    lines: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Row:
    """Panels beside each other, with a title above.

    Attributes:
        panels: from the left; None leaves a place empty.
        title: words above, none if empty.
    """

    panels: Sequence[Panel | None]
    title: str = ""


def sheet(
    rows: Sequence[Row],
    *,
    heading: str = "",
    columns: Sequence[str] = (),
    gaps: Sequence[int] = (),
    outlined: bool = True,
    outline: str = "evidence",
    maps: bool = True,
) -> Image.Image:
    """Draw rows of panels below each other on white, and below them what the colours mean.

    Args:
        rows: at least one.
        heading: words above everything.
        columns: words above the columns, drawn once, above the first row.
        gaps: columns that more room is left before, to show what belongs together.
        outlined: whether something is outlined, so that the outline has to be explained.
        outline: what the outline is of.
        maps: whether relevance is shown, so that its colours have to be explained.

    Raises:
        CallError: if there is nothing to draw.
    """
    panels = [panel for row in rows for panel in row.panels if panel is not None]
    if not panels:
        raise CallError("there is no picture to draw; expected at least one.")
    font = ImageFont.load_default(_FONT_SIZE)
    cell = max(panel.picture.width for panel in panels)
    widest = max(len(row.panels) for row in rows)
    lefts = [_MARGIN + place * (cell + _GAP) + 3 * _GAP * sum(gap <= place for gap in gaps) for place in range(widest)]
    words = [font.getlength(text) for text in (heading, *(row.title for row in rows))]
    width = max(lefts[-1] + cell, *(_MARGIN + round(length) for length in words)) + _MARGIN
    page = Image.new("RGB", (width, _height(rows, columns, heading)), PAPER)
    pen = _Pen(page, ImageDraw.Draw(page), font)
    top = _MARGIN
    if heading:
        pen.bold((_MARGIN, top), heading)
        top += _LINE + _GAP
    for number, row in enumerate(rows):
        if row.title:
            pen.bold((_MARGIN, top), row.title)
            top += _LINE + 2
        if number == 0 and columns:
            for left, text in zip(lefts, columns, strict=False):
                pen.write((left, top), text, FAINT, cell)
            top += _LINE
        for left, panel in zip(lefts, row.panels, strict=False):
            if panel is not None:
                pen.place(panel, (left, top), cell)
        top += _row_height(row) + _GAP
    left = pen.scale((_MARGIN, top)) if maps else _MARGIN
    if outlined:
        pen.outline((left, top), outline)
    return page


def side_by_side(
    image: UInt8[np.ndarray, "h w 3"],
    maps: Mapping[str, Float[np.ndarray, "h2 w2"]],
    evidence: Bool[np.ndarray, "h3 w3"] | None = None,
    *,
    captions: Mapping[str, str] | None = None,
    title: str = "",
    side: int = SIDE,
    columns: int = 6,
) -> Image.Image:
    """Draw an image, and beside it the same image under each of its relevance maps: of several models or classes.

    Args:
        image: what the model sees.
        maps: values in [0, 1] under the words that name them.
        evidence: its outline is drawn into every picture.
        captions: further words for a map, by the same name.
        title: words above.
        side: longer side of a picture in pixels.
        columns: pictures in one row; further ones go below.

    Example:
        >>> image = np.full((32, 32, 3), 128, dtype=np.uint8)
        >>> side_by_side(image, {"zero-shot": np.eye(4), "fine-tuned": np.ones((4, 4))}, side=64).mode
        'RGB'
    """
    known = captions or {}
    plain = ("image with evidence" if evidence is not None else "image", INK)
    panels = [Panel(overlay(image, None, evidence, side=side), (plain,))]
    for name, heatmap in maps.items():
        lines = [(name, INK), *([(known[name], FAINT)] if name in known else [])]
        panels.append(Panel(overlay(image, heatmap, evidence, side=side), tuple(lines)))
    rows = [Row(panels[start : start + columns]) for start in range(0, len(panels), columns)]
    return sheet(rows, heading=title, outlined=evidence is not None)


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures below each other on white.

    Example:
        >>> stacked([Image.new("RGB", (4, 2)), Image.new("RGB", (3, 5))]).size
        (4, 7)
    """
    page = Image.new("RGB", (max(one.width for one in pictures), sum(one.height for one in pictures)), PAPER)
    top = 0
    for picture in pictures:
        page.paste(picture, (0, top))
        top += picture.height
    return page


def png_bytes(picture: Image.Image) -> bytes:
    """Return a picture as a PNG file; equal pictures give equal bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def write_picture(picture: Image.Image, path: str | Path) -> Path:
    """Write a picture as a PNG file, atomically, and return its path.

    Raises:
        CallError: if the name does not end in `.png`.
        VlmError: if it cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise CallError(f"{target} does not end in .png; a picture is a PNG file. Write {target}.png.")
    write_bytes(target, png_bytes(picture))
    return target


def _row_height(row: Row) -> int:
    panels = [panel for panel in row.panels if panel is not None]
    tallest = max((panel.picture.height for panel in panels), default=0)
    lines = max((len(panel.lines) for panel in panels), default=0)
    return tallest + lines * _LINE + (4 if lines else 0)


def _height(rows: Sequence[Row], columns: Sequence[str], heading: str) -> int:
    inside = sum(_row_height(row) + _GAP + (_LINE + 2) * bool(row.title) for row in rows)
    return 2 * _MARGIN + (_LINE + _GAP) * bool(heading) + _LINE * bool(columns) + inside + _LINE


@dataclasses.dataclass(frozen=True)
class _Pen:
    """Writes and draws on one page."""

    page: Image.Image
    draw: ImageDraw.ImageDraw
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont

    def write(self, corner: tuple[float, float], text: str, colour: str, width: int) -> None:
        """Write one line, cut with dots if it is wider than its column."""
        cut = text
        while cut and self.font.getlength(cut if cut == text else cut + "...") > width:
            cut = cut[:-1]
        self.draw.text(corner, cut if cut == text else cut.rstrip() + "...", fill=colour, font=self.font)

    def bold(self, corner: tuple[float, float], text: str) -> None:
        """Write a title."""
        self.draw.text(corner, text, fill=INK, font=self.font, stroke_width=0.4, stroke_fill=INK)

    def place(self, panel: Panel, corner: tuple[int, int], width: int) -> None:
        """Draw a picture and the words under it."""
        self.page.paste(panel.picture, corner)
        below = corner[1] + panel.picture.height + 4
        for number, (text, colour) in enumerate(panel.lines):
            self.write((corner[0], below + number * _LINE), text, colour, width)

    def scale(self, corner: tuple[int, int]) -> int:
        """Tell what the colours mean, and return where the next words may begin."""
        left, top = corner
        middle, length = top + _LINE // 2, 80
        self.draw.text((left, middle), "little relevance", fill=FAINT, font=self.font, anchor="lm")
        left += round(self.font.getlength("little relevance")) + 6
        bar = heat_colours(np.linspace(0, 1, length)[None].repeat(9, axis=0))
        self.page.paste(Image.fromarray(bar), (left, middle - 4))
        left += length + 6
        self.draw.text((left, middle), "much", fill=FAINT, font=self.font, anchor="lm")
        return left + round(self.font.getlength("much")) + 24

    def outline(self, corner: tuple[int, int], words: str) -> None:
        """Tell what the outline is of."""
        left, middle = corner[0], corner[1] + _LINE // 2
        self.draw.rectangle((left, middle - 5, left + 14, middle + 4), outline=EVIDENCE, width=2)
        self.draw.text((left + 20, middle), words, fill=FAINT, font=self.font, anchor="lm")
