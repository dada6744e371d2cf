"""The whole verdict at a glance: every data set's accuracy for the models of a run."""

from matplotlib.axes import Axes

from vlm_eval.plots.marks import draw_interval, draw_model
from vlm_eval.plots.style import METRIC_NAMES, legend_below, percent_axis, plain
from vlm_eval.score_table import GROUP_NAMES, ID, MEAN, Column, ScoreTable
from vlm_eval.summary import INTERPOLATED

_DODGE = 0.22
_GAP = 0.7


def draw_scores(axes: Axes, summary: ScoreTable, metric: str = "accuracy") -> None:
    """Draw one row per data set with a dot and an interval per model; rows are grouped, ID first.

    Args:
        axes: where to draw.
        summary: the lines of the models, see `vlm_eval.summary.summary_table`.
        metric: name of a metric that is a fraction.
    """
    columns = [column for column in summary.columns if column.group != MEAN]
    heights = _heights(columns)
    for place, line in enumerate(summary.lines):
        dodge = _DODGE * (place - (len(summary.lines) - 1) / 2)
        cells = [(heights[column.key] + dodge, line.cells.get(column.key, {})) for column in columns]
        scored = [(height, cell[metric]) for height, cell in cells if metric in cell]
        for height, score in scored:
            draw_interval(axes, line.model, score, height, "x")
        label = line.model if line.model != INTERPOLATED else f"interpolated (α = {line.alpha:g})"
        draw_model(axes, line.model, [score.value for _, score in scored], [height for height, _ in scored], label)
    axes.set_yticks([heights[column.key] for column in columns], [plain(column.label) for column in columns])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    name = METRIC_NAMES.get(metric, metric)
    axes.set(xlabel=name, title=f"{name} on every data set")
    percent_axis(axes, "x")
    _name_groups(axes, columns, heights)
    legend_below(axes, 3)


def _heights(columns: list[Column]) -> dict[str, float]:
    heights, height, group = {}, 0.0, None
    for column in columns:
        height += 1.0 + (_GAP if group not in (None, column.group) else 0.0)
        heights[column.key], group = height, column.group
    return heights


def _name_groups(axes: Axes, columns: list[Column], heights: dict[str, float]) -> None:
    """Write the name of each group above its first row."""
    for group in dict.fromkeys(column.group for column in columns if column.group != ID):
        first = min(heights[column.key] for column in columns if column.group == group)
        axes.annotate(
            plain(GROUP_NAMES.get(group, group)),
            (0.0, first - 0.6),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=8,
            fontstyle="italic",
            va="center",
        )
