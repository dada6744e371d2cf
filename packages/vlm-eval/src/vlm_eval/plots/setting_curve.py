"""Scores against a numeric setting: one line for each kind of run, with the spread over seeds."""

import dataclasses
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from vlm_eval.plots.style import INK, METRIC_NAMES, SERIES_COLOURS, SERIES_MARKERS, percent_axis, plain


@dataclasses.dataclass(frozen=True)
class SettingLine:
    """One line of a plot; fractions.

    Attributes:
        name: for the legend.
        settings: values of the setting, ascending.
        means: over seeds, as many.
        deviations: over seeds, as many; None where there was one seed.
        place: of its colour and marker, the same in every panel.
    """

    name: str
    settings: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float | None, ...]
    place: int = 0


def draw_against_setting(
    axes: Axes, lines: Sequence[SettingLine], setting: str, metric: str, title: str, zero_shot: float | None = None
) -> None:
    """Draw one metric against a setting.

    The axis is logarithmic for settings that people choose in ratios, and has a tick at every value that was run.

    Args:
        axes: where to draw.
        lines: one for each kind of run.
        setting: its name, for the axis.
        metric: `accuracy` or `ece`.
        title: what was evaluated.
        zero_shot: score of the model before training, drawn as a dotted line; None leaves it out.
    """
    for line in lines:
        colour = SERIES_COLOURS[line.place % len(SERIES_COLOURS)]
        marker = SERIES_MARKERS[line.place % len(SERIES_MARKERS)]
        axes.plot(line.settings, line.means, color=colour, marker=marker, markersize=5, label=plain(line.name))
        spread = [
            (x, y, d) for x, y, d in zip(line.settings, line.means, line.deviations, strict=True) if d is not None
        ]
        if spread:
            x, y, deviation = zip(*spread, strict=True)
            axes.errorbar(x, y, yerr=deviation, color=colour, linestyle="none", capsize=2.5, linewidth=1.1, zorder=3)
    if zero_shot is not None:
        axes.axhline(zero_shot, color=INK, linewidth=1.1, linestyle=":", zorder=1, label="zero-shot")
    values = sorted({value for line in lines for value in line.settings})
    if is_logarithmic(setting, values):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if len(values) <= 8:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set(xlabel=plain(setting), ylabel=METRIC_NAMES.get(metric, metric), title=plain(title))
    percent_axis(axes, "y")


def is_logarithmic(setting: str, values: Sequence[float]) -> bool:
    """Return whether a setting is better read in ratios: learning rates, batch sizes, what spans a factor of 20.

    Example:
        >>> is_logarithmic("training.batch_size", [16, 64]), is_logarithmic("evaluation.alpha", [0.0, 0.5, 1.0])
        (True, False)
    """
    if not values or min(values) <= 0 or min(values) == max(values):
        return False
    return setting.rpartition(".")[2] in ("lr", "batch_size", "rank") or max(values) / min(values) >= 20
