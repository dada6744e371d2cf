"""Scores of kinds of runs side by side: a dot for every seed, a line at their mean."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vlm_eval.plots.style import INK, METRIC_NAMES, PAPER, percent_axis, plain


def draw_seed_dots(
    axes: Axes,
    values: Mapping[str, Sequence[float]],
    colour: str,
    metric: str,
    title: str,
    zero_shot: float | None = None,
) -> None:
    """Draw one row for each kind of run.

    Args:
        axes: where to draw.
        values: of every seed, by name of the kind; the first is on top. A kind without values keeps its empty row.
        colour: of the dots.
        metric: `accuracy` or `ece`.
        title: what was evaluated.
        zero_shot: score of the model before training, drawn as a dotted line; None leaves it out.
    """
    for row, found in enumerate(values.values()):
        places = row + (np.arange(len(found)) - (len(found) - 1) / 2) * 0.09  # equal values stay apart
        axes.plot(
            found, places, "o", color=colour, alpha=0.75, markersize=5, markeredgecolor=PAPER, markeredgewidth=0.5
        )
        if len(found):
            axes.vlines(float(np.mean(found)), row - 0.33, row + 0.33, color=colour, linewidth=2, zorder=3)
    if zero_shot is not None:
        axes.axvline(zero_shot, color=INK, linewidth=1.1, linestyle=":", zorder=1, label="zero-shot")
    axes.set_yticks(range(len(values)), [plain(name) for name in values])
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set(xlabel=METRIC_NAMES.get(metric, metric), title=plain(title))
    percent_axis(axes, "x")
