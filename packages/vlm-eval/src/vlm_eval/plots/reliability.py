"""Reliability diagrams: does a model that says 80 % get 80 % right."""

import numpy as np
from matplotlib.axes import Axes

from vlm_eval.metrics.reliability import ReliabilityTable
from vlm_eval.plots.style import INK, PAPER, percent_axis


def draw_reliability(axes: Axes, table: ReliabilityTable, colour: str, title: str = "") -> None:
    """Draw accuracy against confidence: a bar per bin, a dot at its mean confidence, and its distance to the diagonal.

    Args:
        axes: where to draw.
        table: bins of one model on one data set.
        colour: of bars and dots.
        title: for example the model and its ECE.
    """
    filled = table.count > 0
    width = np.diff(table.edges)
    axes.bar(
        table.edges[:-1][filled],
        table.accuracy[filled],
        width[filled],
        align="edge",
        color=colour,
        alpha=0.3,
        edgecolor=PAPER,
        linewidth=0.5,
        zorder=2,
    )
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9, alpha=0.6, linestyle="--", zorder=3)
    confidence, accuracy = table.confidence[filled], table.accuracy[filled]
    axes.vlines(confidence, accuracy, confidence, color=colour, linewidth=1.3, zorder=4)
    axes.plot(
        confidence,
        accuracy,
        marker="o",
        markersize=4.5,
        color=colour,
        markeredgecolor=PAPER,
        markeredgewidth=0.5,
        linestyle="none",
        clip_on=False,
        zorder=5,
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=title)
    percent_axis(axes, "x")
    percent_axis(axes, "y")


def draw_counts(axes: Axes, table: ReliabilityTable, colour: str) -> None:
    """Draw how many samples each bin of `draw_reliability` holds.

    Args:
        axes: where to draw, below the diagram and as wide.
        table: the same bins.
        colour: of the bars.
    """
    axes.bar(
        table.edges[:-1],
        table.count,
        np.diff(table.edges),
        align="edge",
        color=colour,
        alpha=0.8,
        edgecolor=PAPER,
        linewidth=0.5,
        zorder=2,
    )
    axes.set(xlim=(0, 1), xlabel="confidence", ylabel="samples", yticks=[0, int(table.count.max())])
    percent_axis(axes, "x")
