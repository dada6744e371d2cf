"""The marks that mean the same in every figure: a model, its interval, an oracle."""

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes

from vlm_eval.plots.style import INK, MODEL_COLOURS, MODEL_MARKERS, PAPER
from vlm_eval.score_table import Score


def draw_model(
    axes: Axes, model: str, x: Sequence[float], y: Sequence[float], label: str = "_", size: float = 7
) -> None:
    """Draw the marker of a model at every point.

    Args:
        axes: where to draw.
        model: `zero-shot`, `fine-tuned`, `interpolated`; others get a dot in ink.
        x: positions.
        y: as many.
        label: for the legend; an underscore keeps it out.
        size: points.
    """
    axes.plot(
        x,
        y,
        color=MODEL_COLOURS.get(model, INK),
        marker=MODEL_MARKERS.get(model, "o"),
        markersize=size,
        markeredgecolor=PAPER,
        markeredgewidth=0.6,
        linestyle="none",
        label=label,
        zorder=6,
    )


def draw_interval(axes: Axes, model: str, score: Score, at: float, along: Literal["x", "y"]) -> None:
    """Draw the interval of a score as a line, if it has one.

    Args:
        axes: where to draw.
        model: gives the colour.
        score: in data coordinates of the axis it lies along.
        at: place on the other axis.
        along: the axis of the score.
    """
    if score.low is None or score.high is None:
        return
    lines = axes.hlines if along == "x" else axes.vlines
    lines(at, score.low, score.high, color=MODEL_COLOURS.get(model, INK), linewidth=1.3, alpha=0.75, zorder=2)


def draw_ring(axes: Axes, x: Sequence[float], y: Sequence[float], label: str = "_") -> None:
    """Draw a ring around every point: the best one, by the rule the label tells."""
    axes.plot(
        x,
        y,
        marker="o",
        markersize=13,
        markerfacecolor="none",
        markeredgecolor=INK,
        markeredgewidth=0.9,
        linestyle="none",
        label=label,
        zorder=5,
    )
