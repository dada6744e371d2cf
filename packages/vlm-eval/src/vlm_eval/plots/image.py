"""From a figure to bytes: standalone SVG and PNG on white, and SVG that takes its colours from the page around it."""

import html
import io
import re

from matplotlib.figure import Figure

from vlm_eval.plots.style import INK, PAPER


def svg_bytes(figure: Figure) -> bytes:
    """Return a standalone SVG document on white; equal figures give equal bytes. Call inside `house_style`."""
    return _svg(figure, transparent=False)


def png_bytes(figure: Figure, dpi: int = 160) -> bytes:
    """Return a PNG on white; equal figures give equal bytes. Call inside `house_style`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return an `<svg>` element to put into a page. Call inside `house_style`.

    Ink becomes `currentColor`, paper `var(--paper)`, the ground is transparent, so the figure follows light and dark
    mode. Ids get the figure's name in front, so that several figures fit into one page. There is no size but the shape:
    the page decides how wide it is.

    Args:
        figure: what to draw.
        name: unique within the page, letters, digits and hyphens.
        description: read aloud in place of the picture.
    """
    text = _svg(figure, transparent=True).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid=")', rf"\g<1>{name}-", text)
    text = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\g<1>{name}-", text).replace("xlink:href", "href")
    text = text.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    box = re.search(r'viewBox="[^"]*"', text)
    label = html.escape(description, quote=True)
    opening = f'<svg {box.group() if box else ""} role="img" aria-label="{label}">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1).strip()


def _svg(figure: Figure, transparent: bool) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=transparent)
    return buffer.getvalue()
