"""Scores over two numeric settings: an annotated heat map."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from vlm_eval.catalog import load_metric
from vlm_eval.plots.style import INK, PAPER, plain

_MAP = "cividis"
"""Light and dark in one direction for all kinds of colour vision."""


def draw_surface(
    axes: Axes,
    means: Float64[np.ndarray, "rows columns"],
    deviations: Float64[np.ndarray, "rows columns"],
    values: tuple[Sequence[float], Sequence[float]],
    settings: tuple[str, str],
    metric: str,
    title: str,
) -> None:
    """Draw a cell for every pair of values, brighter where the metric is better, with its number and deviation.

    Args:
        axes: where to draw.
        means: fractions; NaN where there is no run.
        deviations: over seeds; NaN where there was one seed.
        values: of the setting of the rows, from below, and of that of the columns.
        settings: names of both.
        metric: says whether higher is better.
        title: what was evaluated.
    """
    colours = colormaps[_MAP if load_metric(metric)["better"] == "higher" else f"{_MAP}_r"]
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    span = max(high - low, 1e-9)
    axes.imshow(means, origin="lower", aspect="auto", cmap=colours, vmin=low, vmax=low + span)
    for row, column in np.argwhere(np.isfinite(means)):
        mean, deviation = means[row, column], deviations[row, column]
        text = f"{100 * mean:.1f}" + (f"\n± {100 * deviation:.1f}" if np.isfinite(deviation) else "")
        ink = _readable_on(to_rgb(colours(float((mean - low) / span))))
        axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=ink)
    for which, names in (("y", values[0]), ("x", values[1])):
        axes.set(**{f"{which}ticks": range(len(names)), f"{which}ticklabels": [f"{name:g}" for name in names]})
    axes.set(xlabel=plain(settings[1]), ylabel=plain(settings[0]), title=plain(title))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)


def _readable_on(colour: tuple[float, float, float]) -> str:
    """Return ink or paper, whichever has more contrast on a colour, by the relative luminance of WCAG 2."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return INK if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.207 else PAPER
