"""Shortcuts in pictures: accuracy with and without a feature, before and after mitigation, precision of discovery."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes

from vlm_eval.plots.style import INK, PAPER, SERIES_COLOURS, SERIES_MARKERS, legend_below, percent_axis, plain
from vlm_eval.score_table import Score

_WITH, _WITHOUT = "#d55e00", "#0072b2"
_HALF_ROW = 26
"""Letters of a name that has room beside another one below a panel."""
Pair = tuple[float | None, float | None]


def draw_pairs(axes: Axes, pairs: Mapping[str, Pair], names: tuple[str, str], title: str) -> None:
    """Draw a row with two dots and the line between them for each name: filled is the second of `names`.

    Args:
        axes: where to draw.
        pairs: first and second accuracy by name of the row, fractions; None leaves a dot out.
        names: what the two are, for the legend.
        title: of the panel.
    """
    for row, (first, second) in enumerate(pairs.values()):
        if first is not None and second is not None:
            axes.plot([first, second], [row, row], color=INK, linewidth=1.1, alpha=0.45, zorder=2)
    for place, (name, colour) in enumerate(zip(names, (_WITHOUT, _WITH), strict=True)):
        known = [(pair[place], row) for row, pair in enumerate(pairs.values()) if pair[place] is not None]
        x, y = zip(*known, strict=True) if known else ((), ())
        axes.plot(x, y, color=colour, marker="so"[place], markersize=6.5, markeredgecolor=PAPER, markeredgewidth=0.6,
                  linestyle="none", label=plain(name), zorder=4 + place)  # fmt: skip
    axes.set_yticks(range(len(pairs)), [plain(name) for name in pairs])
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.set_xlim(-0.03, 1.03)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="accuracy", title=plain(title))
    percent_axis(axes, "x")
    legend_below(axes, 2)


def draw_worst_against_overall(axes: Axes, methods: Mapping[str, tuple[Score, Score]], title: str) -> None:
    """Draw worst-group against overall accuracy, a point with both intervals per method; first one: where all begin.

    Above and to the right is better; a method that only moves up pays nothing for its worst group.

    Args:
        axes: where to draw.
        methods: overall and worst-group accuracy by name.
        title: of the panel.
    """
    scores = list(methods.items())
    for place, (name, (overall, worst)) in enumerate(scores):
        colour = INK if place == 0 else SERIES_COLOURS[(place - 1) % len(SERIES_COLOURS)]
        marker = "*" if place == 0 else SERIES_MARKERS[(place - 1) % len(SERIES_MARKERS)]
        if place:
            start = scores[0][1]
            axes.plot([start[0].value, overall.value], [start[1].value, worst.value], color=colour, linewidth=0.8,
                      alpha=0.5, zorder=2)  # fmt: skip
        if overall.low is not None and overall.high is not None:
            axes.hlines(worst.value, overall.low, overall.high, color=colour, linewidth=1.2, alpha=0.7, zorder=3)
        if worst.low is not None and worst.high is not None:
            axes.vlines(overall.value, worst.low, worst.high, color=colour, linewidth=1.2, alpha=0.7, zorder=3)
        axes.plot([overall.value], [worst.value], color=colour, marker=marker, markersize=11 if place == 0 else 7,
                  markeredgecolor=PAPER, markeredgewidth=0.6, linestyle="none", zorder=5,
                  label=plain(name))  # fmt: skip
    axes.set(xlabel="overall accuracy", ylabel="worst-group accuracy", title=plain(title))
    percent_axis(axes, "x")
    percent_axis(axes, "y")
    legend_below(axes, 2 if max(map(len, methods), default=0) <= _HALF_ROW else 1)


def draw_precision(
    axes: Axes, series: Mapping[str, Sequence[tuple[float, Score]]], random: float | None, label: str, title: str
) -> None:
    """Draw mean Precision@K against the strength of the correlation, with intervals, beside a random order.

    Args:
        axes: where to draw.
        series: positions and scores by name.
        random: expected precision of a random order of regions; None leaves the line out.
        label: of the horizontal axis.
        title: of the panel.
    """
    positions = sorted({at for points in series.values() for at, _ in points})
    step = min((b - a for a, b in pairwise(positions)), default=1.0)
    for place, (name, points) in enumerate(series.items()):
        colour, marker = SERIES_COLOURS[place % len(SERIES_COLOURS)], SERIES_MARKERS[place % len(SERIES_MARKERS)]
        shift = 0.06 * step * (place - (len(series) - 1) / 2)  # so that intervals do not hide each other
        x, y = [at + shift for at, _ in points], [score.value for _, score in points]
        for at, (_, score) in zip(x, points, strict=True):
            if score.low is not None and score.high is not None:
                axes.vlines(at, score.low, score.high, color=colour, linewidth=1.2, alpha=0.7, zorder=3)
        axes.plot(x, y, color=colour, marker=marker, markersize=6, markeredgecolor=PAPER, markeredgewidth=0.6,
                  label=plain(name), zorder=4)  # fmt: skip
    if random is not None:
        axes.axhline(random, color=INK, linewidth=1, linestyle=":", zorder=1, label="random order")
    axes.set_xticks(positions)
    axes.set(xlabel=plain(label), ylabel="mean Precision@10", title=plain(title), ylim=(-0.03, 1.03))
    percent_axis(axes, "y")
    legend_below(axes, 2)
