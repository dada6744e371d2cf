"""What happens on the way from the zero-shot to the fine-tuned weights."""

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from vlm_eval.plots.marks import draw_interval, draw_model, draw_ring
from vlm_eval.plots.style import (
    GROUP_LINES,
    INK,
    METRIC_NAMES,
    MODEL_COLOURS,
    PAPER,
    group_colour,
    legend_below,
    percent_axis,
    plain,
)
from vlm_eval.score_table import GROUP_NAMES, ID, Score, ScoreTable
from vlm_eval.summary import FINE_TUNED, INTERPOLATED, ZERO_SHOT


def draw_alpha_path(axes: Axes, table: ScoreTable, alpha: float) -> None:
    """Draw mean shift accuracy against ID accuracy, one path through all alphas per group of shifts.

    The ends and the chosen alpha carry their own marks, labels and intervals; a ring shows the alpha with the best mean
    over the group, an oracle.

    Args:
        axes: where to draw.
        table: one line per alpha, see `vlm_eval.score_table.score_table`.
        alpha: the chosen one.
    """
    paths = {group: points for group in table.groups if (points := _path(table, group))}
    for place, (group, points) in enumerate(paths.items()):
        # Natural shifts fall on the way while corruptions rise: below one path and above the other there is room.
        _draw_path(axes, points, group, alpha, labelled=place == 0)  # further paths carry the same marks
    for name in _models(alpha):
        draw_model(axes, name, [], [], name)
    _draw_oracles(axes, paths.values())
    limits = {"xlim": axes.get_xlim(), "ylim": axes.get_ylim()}
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, alpha=0.5, linestyle=":", zorder=1, label="shift = ID")
    axes.set(
        **limits, xlabel="ID accuracy", ylabel="mean accuracy on the shifts", title="every alpha, ID against shifts"
    )
    percent_axis(axes, "x")
    percent_axis(axes, "y")
    legend_below(axes, 2)


def draw_against_alpha(axes: Axes, table: ScoreTable, metric: str, alpha: float) -> None:
    """Draw one metric against alpha: ID and the mean of every group of shifts, with intervals as bands.

    Args:
        axes: where to draw.
        table: one line per alpha.
        metric: `accuracy` or `ece`.
        alpha: the chosen one, marked by a vertical line.
    """
    for group in (ID, *table.groups):
        cells = {line.alpha: cell for line in table.lines if (cell := table.mean(line, group))}
        scores = {a: cell[metric] for a, cell in cells.items() if a is not None and metric in cell}
        if scores:
            colour, values = group_colour(group), [score.value for score in scores.values()]
            axes.plot(
                list(scores),
                values,
                color=colour,
                linestyle=_line_style(group),
                marker="o",
                markersize=3,
                label=_mean_of(group),
            )
            _band(axes, list(scores), list(scores.values()), colour)
    axes.axvline(alpha, color=MODEL_COLOURS[INTERPOLATED], linewidth=1, alpha=0.8, zorder=1, label="chosen alpha")
    axes.set(
        xlim=(-0.03, 1.03), xlabel="alpha (weight of the fine-tuned model)", ylabel=METRIC_NAMES.get(metric, metric)
    )
    bottom, _ = axes.get_ylim()
    axes.set_ylim(bottom=max(0.0, bottom))
    percent_axis(axes, "y")
    legend_below(axes, 2)


_Point = tuple[float, Score, Score]


def _path(table: ScoreTable, group: str) -> list[_Point]:
    """Alpha, ID accuracy and mean accuracy of the group, as far as both are known."""
    found = []
    for line in table.lines:
        known, shift = table.mean(line, ID), table.mean(line, group)
        if known and shift and line.alpha is not None:
            found.append((line.alpha, known["accuracy"], shift["accuracy"]))
    return found


def _draw_path(axes: Axes, points: Sequence[_Point], group: str, alpha: float, labelled: bool) -> None:
    x, y = [known.value for _, known, _ in points], [shift.value for _, _, shift in points]
    axes.plot(
        x, y, color=group_colour(group), linestyle=_line_style(group), marker="o", markersize=3, label=_mean_of(group)
    )
    for name, wanted in _models(alpha).items():
        for value, known, shift in points:
            if math.isclose(value, wanted, abs_tol=1e-6):
                draw_interval(axes, name, known, shift.value, "x")
                draw_interval(axes, name, shift, known.value, "y")
                draw_model(axes, name, [known.value], [shift.value])
                if labelled:
                    _label(axes, f"α = {value:g}", known.value, shift.value)


def _draw_oracles(axes: Axes, paths: Iterable[Sequence[_Point]]) -> None:
    best = [max(points, key=lambda point: (point[2].value, -point[0])) for points in paths]
    draw_ring(axes, [p[1].value for p in best], [p[2].value for p in best], "oracle: best on these test sets")


def _label(axes: Axes, text: str, x: float, y: float) -> None:
    axes.annotate(
        text,
        (x, y),
        (8, -8),
        textcoords="offset points",
        ha="left",
        va="top",
        fontsize=8,
        zorder=4,
        path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
    )


def _band(axes: Axes, alphas: Sequence[float], scores: Sequence[Score], colour: str) -> None:
    ends = [(score.low, score.high) for score in scores if score.low is not None and score.high is not None]
    if len(ends) == len(alphas):
        low, high = zip(*ends, strict=True)
        axes.fill_between(alphas, low, high, color=colour, alpha=0.13, linewidth=0, zorder=2)


def _models(alpha: float) -> dict[str, float]:
    return {ZERO_SHOT: 0.0, FINE_TUNED: 1.0, INTERPOLATED: alpha}


def _line_style(group: str) -> str:
    return GROUP_LINES.get(group, "-.")


def _mean_of(group: str) -> str:
    return "ID" if group == ID else plain(f"mean of {GROUP_NAMES.get(group, group)}")
