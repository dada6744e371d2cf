"""Accuracy under shift against ID accuracy: paths from zero-shot to fine-tuned, baselines with their line, y = x."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from vlm_eval.metrics.robustness import BaselineFit
from vlm_eval.plots.logit_axis import logit_axis, logit_limits
from vlm_eval.plots.style import INK, PAPER, SERIES_COLOURS, SERIES_MARKERS, percent_axis, plain
from vlm_eval.score_table import Score

Scale = Literal["logit", "linear", "log"]
Point = tuple[float, float]

_BASELINE = "#5b7f95"


@dataclasses.dataclass(frozen=True)
class ScatterPath:
    """One group of runs from alpha 0 to alpha 1.

    Attributes:
        name: for the legend.
        points: ID and shifted score at every alpha, ascending; means over seeds.
        seeds: the points of every run, where there are several.
        marked: scores with intervals at the alphas that carry marks: 0, 1 and the compared one.
    """

    name: str
    points: Mapping[float, Point]
    seeds: Sequence[Sequence[Point]] = ()
    marked: Mapping[float, tuple[Score, Score]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class BaselineCloud:
    """Baselines of one panel: their accuracies, and the line through them."""

    reference: Float[np.ndarray, " m"]
    shifted: Float[np.ndarray, " m"]
    fit: BaselineFit


def draw_scatter(
    axes: Axes,
    paths: Sequence[ScatterPath],
    baselines: BaselineCloud | None = None,
    *,
    scale: Scale = "logit",
    shares: bool = True,
    label_alphas: bool = False,
) -> None:
    """Draw one panel; nothing is drawn outside of what models and baselines span.

    On the logit scale scores have to lie strictly between 0 and 1, see
    `vlm_eval.comparing.scored_groups.halfway_inside`.

    Args:
        axes: where to draw.
        paths: groups of runs; colours and markers follow their order.
        baselines: only for accuracies.
        scale: of both axes.
        shares: label ticks in per cent.
        label_alphas: write 0, the middle and 1 beside the path, if there is only one.
    """
    _set_axes(axes, paths, baselines, scale, shares)
    limits = axes.get_xlim(), axes.get_ylim()
    if baselines:
        _draw_baselines(axes, baselines)
    if max(low for low, _ in limits) < min(high for _, high in limits):
        ends = max(low for low, _ in limits), min(high for _, high in limits)
        axes.plot(ends, ends, color=INK, linewidth=0.8, alpha=0.6, linestyle=":", zorder=1, label="shift = ID")
    for place, path in enumerate(paths):
        _draw_path(axes, path, place)
    starts = {path.points[min(path.points)] for path in paths if path.points}
    if starts:
        x, y = zip(*sorted(starts), strict=True)
        axes.plot(x, y, color=INK, marker="*", markersize=11, markeredgecolor=PAPER, linestyle="none", zorder=7,
                  label="zero-shot (α = 0)")  # fmt: skip
    between = sorted({alpha for path in paths for alpha in path.marked if 0 < alpha < 1})
    if between:
        axes.plot([], [], color=INK, marker="o", markersize=6, markerfacecolor=PAPER, linestyle="none",
                  label=f"hollow: α = {between[0]:g}")  # fmt: skip
    if label_alphas and len(paths) == 1:
        _label_alphas(axes, paths[0])
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])


def _set_axes(
    axes: Axes, paths: Sequence[ScatterPath], baselines: BaselineCloud | None, scale: Scale, shares: bool
) -> None:
    for which, side in (("x", 0), ("y", 1)):
        values = [point[side] for path in paths for point in path.points.values()]
        values += [point[side] for path in paths for seed in path.seeds for point in seed]
        ends = [(pair[side].low, pair[side].high) for path in paths for pair in path.marked.values()]
        values += [end for both in ends for end in both if end is not None]
        values += list((baselines.reference, baselines.shifted)[side]) if baselines else []
        if scale == "logit":
            logit_axis(axes, which, *logit_limits(values))
            continue
        low, high = min(values), max(values)
        if scale == "log":
            margin = (high / low) ** 0.08 if high > low else 1.5
            ends = low / margin, high * margin
        else:
            margin = 0.08 * (high - low) or 0.05
            ends = (max(low - margin, 0.0) if low >= 0 else low - margin), high + margin
        (axes.set_xlim if which == "x" else axes.set_ylim)(*ends)
        (axes.set_xscale if which == "x" else axes.set_yscale)(scale)
        if shares:
            percent_axis(axes, which)


def _draw_baselines(axes: Axes, baselines: BaselineCloud) -> None:
    low, high = axes.get_xlim()
    grid = np.clip(np.linspace(low, high, 200), 1e-9, 1 - 1e-9)
    lower, upper = baselines.fit.band(grid)
    axes.fill_between(grid, lower, upper, color=_BASELINE, alpha=0.16, linewidth=0, zorder=1)
    axes.plot(grid, baselines.fit.expected(grid), color=_BASELINE, linewidth=1.2, zorder=2)
    label = f"{baselines.fit.count} baselines, fit and 95 % band"
    axes.plot([], [], color=_BASELINE, marker="o", markersize=3.2, linewidth=1.2, label=label)
    axes.plot(
        baselines.reference,
        baselines.shifted,
        color=_BASELINE,
        marker="o",
        markersize=3.2,
        linestyle="none",
        zorder=3,
    )


def _draw_path(axes: Axes, path: ScatterPath, place: int) -> None:
    colour = SERIES_COLOURS[place % len(SERIES_COLOURS)]
    marker = SERIES_MARKERS[place % len(SERIES_MARKERS)]
    for seed in path.seeds:
        x, y = zip(*seed, strict=True)
        axes.plot(x, y, color=colour, linewidth=0.6, alpha=0.45, zorder=3)
    points = [path.points[alpha] for alpha in sorted(path.points)]
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=colour, marker="o", markersize=2.2, linewidth=1.4, zorder=4)
    for alpha, (reference, shifted) in path.marked.items():
        if alpha > 0 or place == 0:  # all paths begin at one zero-shot model
            _draw_interval(axes, reference, shifted, INK if alpha == 0 else colour)
        if 0 < alpha < 1:
            axes.plot(reference.value, shifted.value, marker=marker, markersize=7, markerfacecolor=PAPER,
                      color=colour, linestyle="none", zorder=6)  # fmt: skip
    axes.plot(*points[-1], color=colour, marker=marker, markersize=7, markeredgecolor=PAPER, markeredgewidth=0.6,
              linestyle="none", zorder=6)  # fmt: skip
    axes.plot([], [], color=colour, marker=marker, markersize=6, linewidth=1.4, label=plain(path.name))


def _draw_interval(axes: Axes, reference: Score, shifted: Score, colour: str) -> None:
    if reference.low is not None and reference.high is not None:
        axes.hlines(shifted.value, reference.low, reference.high, color=colour, linewidth=1, alpha=0.6, zorder=3)
    if shifted.low is not None and shifted.high is not None:
        axes.vlines(reference.value, shifted.low, shifted.high, color=colour, linewidth=1, alpha=0.6, zorder=3)


def _label_alphas(axes: Axes, path: ScatterPath) -> None:
    middle = min(path.points, key=lambda alpha: abs(alpha - 0.5))
    for alpha in sorted({min(path.points), middle, max(path.points)}):
        axes.annotate(
            f"α = {alpha:g}",
            path.points[alpha],
            (7, -7),
            textcoords="offset points",
            va="top",
            fontsize=8,
            zorder=8,
            path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
        )
