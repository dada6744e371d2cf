"""One picture of several: drawn on its own into a page, or side by side with others into a file."""

import dataclasses
from collections.abc import Callable, Sequence

from matplotlib.figure import FigureBase

from vlm_eval.plots.image import inline_svg, png_bytes, svg_bytes
from vlm_eval.plots.style import house_style, new_figure

Draw = Callable[[FigureBase], None]


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        name: unique in a report, letters and hyphens.
        description: what it shows, for those who cannot see it.
        draw: draws it onto an empty figure.
        width, height: inches.
    """

    name: str
    description: str
    draw: Draw
    width: float = 4.5
    height: float = 4.0


def panel_svg(panel: Panel) -> str:
    """Return a panel as an element for the page, see `vlm_eval.plots.image.inline_svg`."""
    with house_style():
        figure = new_figure(panel.width, panel.height)
        panel.draw(figure)
        return inline_svg(figure, panel.name, panel.description)


def figure_bytes(drawn: Sequence[Panel], kind: str, columns: int = 3) -> bytes:
    """Return panels side by side as one picture on white.

    Args:
        drawn: of one figure.
        kind: `svg` or `png`.
        columns: panels per row.
    """
    rows = [drawn[first : first + columns] for first in range(0, len(drawn), columns)]
    widths = [max(row[place].width for row in rows if place < len(row)) for place in range(len(rows[0]))]
    heights = [max(panel.height for panel in row) for row in rows]
    with house_style():
        figure = new_figure(sum(widths), sum(heights))
        grid = figure.subfigures(len(rows), len(widths), squeeze=False, width_ratios=widths, height_ratios=heights)
        for place, panel in enumerate(drawn):
            panel.draw(grid[divmod(place, columns)])
        return svg_bytes(figure) if kind == "svg" else png_bytes(figure)


def draw_axes(draw: Callable[..., None], figure: FigureBase) -> None:
    """Draw onto one pair of axes of an empty figure; a `Panel.draw` once `draw` is bound."""
    draw(figure.add_subplot())
