"""The figures of a sweep: curves over one numeric setting, surfaces over two, dots for everything else."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlm_data.files import write_bytes
from vlm_eval.many_runs.groups import SweepGroup
from vlm_eval.plots.image import png_bytes, svg_bytes
from vlm_eval.plots.seed_dots import draw_seed_dots
from vlm_eval.plots.setting_curve import SettingLine, draw_against_setting
from vlm_eval.plots.style import METRIC_NAMES, MODEL_COLOURS, house_style, legend_below, new_figure
from vlm_eval.plots.surface import draw_surface
from vlm_eval.score_table import GROUP_NAMES, ID
from vlm_eval.summary import FINE_TUNED, INTERPOLATED, ZERO_SHOT

FIGURES = "figures"
Kind = Literal["curve", "surface", "dots"]
_READING: Mapping[Kind, str] = {
    "curve": "bars: standard deviation",
    "surface": "in %, mean ± standard deviation; brighter is better",
    "dots": "a dot for each seed, a line at their mean",
}
_MOST_LINES, _MOST_ROWS = 8, 40
_FILLED = 0.5
"""Share of the cells of a surface that must have runs: fewer are no surface."""


@dataclasses.dataclass(frozen=True)
class SweepPlot:
    """How a sweep is drawn.

    Attributes:
        kind: `curve`, `surface` or `dots`.
        numeric: settings on the axes: one for a curve, those of rows and columns for a surface.
        others: further settings that vary: what tells the lines of a curve apart.
    """

    kind: Kind
    numeric: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def write_sweep_figures(groups: Sequence[SweepGroup], out: str | os.PathLike[str]) -> list[Path]:
    """Write the figures of a sweep into `figures/` of its folder, as PNG and SVG.

    One picture for the fine-tuned and one for the interpolated models: accuracy above, ECE below; ID data, natural
    shifts and corruptions side by side.

    Args:
        groups: see `vlm_eval.many_runs.groups.read_sweep`; those without finished runs are left out.
        out: folder of the sweep.

    Returns:
        Paths of what was written; none if fewer than two groups have runs, or more than a picture holds.
    """
    done = [group for group in groups if group.runs]
    plot = choose_plot([group.settings for group in done])
    if plot is None:
        return []
    written = []
    for model in (FINE_TUNED, INTERPOLATED):
        with house_style():
            figure = _figure(done, plot, model)
            for kind, content in (("png", png_bytes), ("svg", svg_bytes)):
                path = Path(out) / FIGURES / f"{plot.kind}-{model}.{kind}"
                write_bytes(path, content(figure))
                written.append(path)
    return written


def choose_plot(settings: Sequence[Mapping[str, Any]]) -> SweepPlot | None:
    """Return how a sweep is best drawn, None if there is nothing to compare or too much.

    Args:
        settings: those that vary, and their values, of every group.

    Example:
        >>> choose_plot([{"training.lr": 1e-3}, {"training.lr": 1e-4}]).kind
        'curve'
        >>> choose_plot([{"method.name": "full"}, {"method.name": "flyp"}]).kind
        'dots'
    """
    if len(settings) < 2:
        return None
    numeric = [key for key in settings[0] if all(_is_number(values[key]) for values in settings)]
    others = [key for key in settings[0] if key not in numeric]
    several = {key: len({values[key] for values in settings}) for key in numeric}
    numeric = sorted((key for key in numeric if several[key] > 1), key=lambda key: -several[key])
    cells = len({tuple(values[key] for key in numeric) for values in settings})
    if len(numeric) == 2 and not others and cells >= _FILLED * several[numeric[0]] * several[numeric[1]] and cells > 3:
        first, second = sorted(numeric, key=list(settings[0]).index)
        return SweepPlot("surface", (first, second))
    if numeric:
        rest = (*others, *numeric[1:])
        lines = [tuple(values[key] for key in rest) for values in settings]
        if len(set(map(repr, lines))) <= min(_MOST_LINES, len(settings) - 1):
            return SweepPlot("curve", (numeric[0],), rest)
    return SweepPlot("dots") if len(settings) <= _MOST_ROWS else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _figure(groups: Sequence[SweepGroup], plot: SweepPlot, model: str) -> Figure:
    facets = list(dict.fromkeys(facet for group in groups for facet in group.facets))
    draw = {"curve": _curve, "surface": _surface, "dots": _dots}[plot.kind](groups, plot, model)
    height = 1.3 + 0.3 * len(groups) if plot.kind == "dots" else 2.9
    labels = max(len(group.name) for group in groups) if plot.kind == "dots" else 0
    figure = new_figure(3.6 * len(facets) + 0.08 * labels, 2 * height + 0.8)
    grid = figure.subplots(
        len(METRIC_NAMES), len(facets), squeeze=False, sharey="row" if plot.kind == "dots" else False
    )
    for row, metric in enumerate(METRIC_NAMES):
        for column, facet in enumerate(facets):
            title = "ID" if facet == ID else f"mean of {GROUP_NAMES.get(facet, facet)}"
            draw(grid[row][column], facet, metric, f"{METRIC_NAMES[metric]}, {title}")
    figure.suptitle(f"{_title(groups, model)}; {_READING[plot.kind]}", x=0.01, ha="left", fontsize=10)
    if plot.kind != "surface":
        legend_below(grid[0][0], 5)
    return figure


def _title(groups: Sequence[SweepGroup], model: str) -> str:
    seeds = sorted({len(group.runs) for group in groups})
    counted = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    labels = {score.model_label for group in groups for score in group.scores if score.model == model}
    label = labels.pop() if len(labels) == 1 else model
    return f"{label}, {counted} seed{'s' * (seeds[-1] > 1)}"


def _zero_shot(groups: Sequence[SweepGroup], facet: str, metric: str) -> float | None:
    """Return the score of the model before training, None if the runs of the sweep started from different ones."""
    found = [score.mean for group in groups if (score := group.score(ZERO_SHOT, facet, metric))]
    return found[0] if found and max(found) - min(found) < 1e-9 else None


_Draw = Callable[[Axes, str, str, str], None]


def _curve(groups: Sequence[SweepGroup], plot: SweepPlot, model: str) -> _Draw:
    kinds = list(dict.fromkeys(_kind(group, plot) for group in groups))

    def draw(axes: Axes, facet: str, metric: str, title: str) -> None:
        lines = []
        for place, kind in enumerate(kinds):
            members = [
                (float(group.settings[plot.numeric[0]]), score.mean, score.deviation)
                for group in groups
                if _kind(group, plot) == kind and (score := group.score(model, facet, metric))
            ]
            if members:
                x, means, deviations = zip(*sorted(members, key=lambda member: member[0]), strict=True)
                lines.append(SettingLine(kind or model, x, means, deviations, place))
        draw_against_setting(axes, lines, plot.numeric[0], metric, title, _zero_shot(groups, facet, metric))

    return draw


def _kind(group: SweepGroup, plot: SweepPlot) -> str:
    """Return the name of the line a group lies on."""
    named = {key: group.settings[key] for key in plot.others}
    return ", ".join(str(v) if key.endswith(".name") else f"{key.rpartition('.')[2]} {v}" for key, v in named.items())


def _surface(groups: Sequence[SweepGroup], plot: SweepPlot, model: str) -> _Draw:
    first, second = (sorted({group.settings[key] for group in groups}) for key in plot.numeric)

    def draw(axes: Axes, facet: str, metric: str, title: str) -> None:
        means, deviations = np.full((2, len(first), len(second)), np.nan)
        for group in groups:
            score = group.score(model, facet, metric)
            row, column = first.index(group.settings[plot.numeric[0]]), second.index(group.settings[plot.numeric[1]])
            if score:
                means[row, column] = score.mean
                deviations[row, column] = np.nan if score.deviation is None else score.deviation
        draw_surface(axes, means, deviations, (first, second), (plot.numeric[0], plot.numeric[1]), metric, title)

    return draw


def _dots(groups: Sequence[SweepGroup], plot: SweepPlot, model: str) -> _Draw:
    def draw(axes: Axes, facet: str, metric: str, title: str) -> None:
        values = {group.name: score.values if (score := group.score(model, facet, metric)) else () for group in groups}
        draw_seed_dots(axes, values, MODEL_COLOURS[model], metric, title, _zero_shot(groups, facet, metric))

    return draw
