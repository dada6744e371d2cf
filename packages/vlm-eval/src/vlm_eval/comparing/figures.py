"""The pictures and the table of `vlm compare`: every group of runs on every shift, as PNG, SVG and CSV."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vlm_data.errors import CallError
from vlm_data.files import write_bytes, write_text
from vlm_eval.comparing.baselines import Baselines
from vlm_eval.comparing.row_tables import is_share
from vlm_eval.comparing.scored_groups import ScoredGroup, halfway_inside
from vlm_eval.comparing.standing import shift_columns
from vlm_eval.metrics.robustness import BaselineFit
from vlm_eval.plots.image import png_bytes, svg_bytes
from vlm_eval.plots.scatter import BaselineCloud, Scale, ScatterPath, draw_scatter
from vlm_eval.plots.style import METRIC_NAMES, house_style, new_figure, plain
from vlm_eval.score_table import ID, MEAN, Score

_COLUMNS = 3
_PANEL = (3.3, 3.0)  # inches


def default_scale(metric: str) -> Scale:
    """Return the scale on which a metric is usually drawn: accuracies on logits, everything else as it is.

    Example:
        >>> default_scale("accuracy"), default_scale("nll")
        ('logit', 'linear')
    """
    return "logit" if metric == "accuracy" else "linear"


def write_scatter_figures(
    folder: str | os.PathLike[str],
    groups: Sequence[ScoredGroup],
    fits: Mapping[str, BaselineFit],
    baselines: Baselines | None = None,
    *,
    metric: str = "accuracy",
    scale: Scale | None = None,
) -> list[Path]:
    """Draw the shifts and their means, each a panel: `shifts.png`, `means.png` and both as SVG.

    With another metric than accuracy files are called `shifts-METRIC.png` and so on, and there are no baselines.

    Args:
        folder: created if it is not there.
        groups: of runs on the same data sets, scored at every alpha.
        fits: lines of the baselines by column, see `vlm_eval.comparing.standing.baseline_fits`.
        baselines: what they were fitted to.
        metric: name of a metric in the rows, of both axes.
        scale: of both axes; `default_scale` if None.

    Returns:
        Paths of what was written.

    Raises:
        CallError: if no group has such scores on any shift, or a scale does not fit the metric.
        VlmError: if a file cannot be written.
    """
    columns = shift_columns(groups[0])
    scale = scale or default_scale(metric)
    panels: dict[str, tuple[str, list[ScatterPath], BaselineCloud | None]] = {}
    for key, label in columns.items():
        paths = [path for group in groups if (path := scatter_path(group, key, metric, scale)).points]
        if paths:
            cloud = _cloud(groups[0], key, fits, baselines) if metric == "accuracy" else None
            panels[key] = (label, paths, cloud)
    if not panels:
        raise CallError(
            f"no run has {metric!r} on ID data and on a shift, so there is nothing to draw. Expected runs of a "
            "benchmark with shifts, and a metric of the rows such as accuracy, ece or nll."
        )
    ending = "" if metric == "accuracy" else f"-{metric.replace('_', '-')}"
    figures = {
        f"means{ending}": {key: panel for key, panel in panels.items() if key.startswith(f"{MEAN}/")},
        f"shifts{ending}": {key: panel for key, panel in panels.items() if not key.startswith(f"{MEAN}/")},
    }
    written = []
    with house_style():
        for name, chosen in figures.items():
            if chosen:
                figure = _figure(list(chosen.values()), metric, scale)
                for kind, data in (("png", png_bytes(figure)), ("svg", svg_bytes(figure))):
                    written.append(Path(folder) / f"{name}.{kind}")
                    write_bytes(written[-1], data)
    return written


def scatter_path(group: ScoredGroup, key: str, metric: str, scale: Scale) -> ScatterPath:
    """Return what a group looks like on one shift; without points if it lacks the metric there.

    On the logit scale accuracies of 0 and 1 move half a sample inside.

    Raises:
        CallError: if a value cannot lie on the scale.
    """
    points, marked = {}, {}
    per_run: list[list[tuple[float, float]]] = [[] for _ in group.tables]
    for alpha in group.alphas:
        both = [group.score(alpha, one, metric) for one in (ID, key)]
        values = [group.values(alpha, one, metric) for one in (ID, key)]
        if both[0] is None or both[1] is None or values[0] is None or values[1] is None:
            continue
        x, y = (_placed(score, group, one, metric, scale) for score, one in zip(both, (ID, key), strict=True) if score)
        points[alpha] = (x.value, y.value)
        if alpha in group.marked:
            marked[alpha] = (x, y)
        for run, (one, other) in enumerate(zip(values[0], values[1], strict=True)):
            seed = [_placed(Score(v), group, k, metric, scale).value for v, k in ((one, ID), (other, key))]
            per_run[run].append((seed[0], seed[1]))
    several = len(per_run) > 1 and bool(points)
    return ScatterPath(group.name, points, per_run if several else (), marked)


def _placed(score: Score, group: ScoredGroup, key: str, metric: str, scale: Scale) -> Score:
    """Return a score where it can be drawn."""
    if scale == "log" and score.value <= 0:
        raise CallError(f"{metric} of {group.name} is {score.value:g}, which has no logarithm. Give --scale linear.")
    if scale != "logit":
        return score
    if not is_share(metric):
        raise CallError(f"{metric!r} is no share between 0 and 1, so it has no logit. Give --scale linear or log.")
    samples = max(1, group.samples(key))
    value, low, high = (
        None if end is None else float(halfway_inside(np.array(end), samples))
        for end in (score.value, score.low, score.high)
    )
    return Score(value if value is not None else score.value, low, high)


def _cloud(
    group: ScoredGroup, key: str, fits: Mapping[str, BaselineFit], baselines: Baselines | None
) -> BaselineCloud | None:
    if baselines is None or key not in fits:
        return None
    x, y = baselines.mean(group.members(ID)), baselines.mean(group.members(key))
    if x is None or y is None:
        return None
    known = np.isfinite(x) & np.isfinite(y)
    return BaselineCloud(x[known], y[known], fits[key])


def _figure(panels: Sequence[tuple[str, list[ScatterPath], BaselineCloud | None]], metric: str, scale: Scale) -> Figure:
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    name = METRIC_NAMES.get(metric, metric)
    most = max(len(paths) for _, paths, _ in panels)
    figure = new_figure(_PANEL[0] * columns, _PANEL[1] * rows + 0.5 + 0.18 * (most // columns))
    grid = figure.subplots(rows, columns, squeeze=False)
    handles: dict[str, object] = {}
    for place, axes in enumerate(grid.flat):
        if place >= len(panels):
            axes.set_visible(False)
            continue
        label, paths, cloud = panels[place]
        draw_scatter(axes, paths, cloud, scale=scale, shares=is_share(metric), label_alphas=len(panels) <= _COLUMNS)
        axes.set(title=plain(label), xlabel=f"ID {name}", ylabel=f"{name} under shift")
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=min(4, columns + 1))  # type: ignore[arg-type]
    return figure


def write_scatter_table(folder: str | os.PathLike[str], text: str) -> Path:
    """Write the table behind the figures, `standings.csv`."""
    path = Path(folder) / "standings.csv"
    write_text(path, text)
    return path
