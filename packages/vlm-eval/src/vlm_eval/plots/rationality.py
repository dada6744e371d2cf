"""PT, IR and valid evidence in pictures: side by side, against accuracy, against the threshold, over severities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vlm_eval.metrics.rationality import RationaleCounts, Share
from vlm_eval.metrics.rationality_curve import ThresholdCurve
from vlm_eval.plots.style import (
    INK,
    MODEL_COLOURS,
    MODEL_MARKERS,
    PAPER,
    SERIES_COLOURS,
    SERIES_MARKERS,
    legend_below,
    percent_axis,
    plain,
)
from vlm_eval.score_table import Score

SHARE_NAMES: Mapping[Share, str] = {"pt": "PT", "ir": "IR", "validity": "valid evidence", "accuracy": "accuracy"}
_DODGE, _ROOM = 0.2, 0.7  # between models, and all that the models of a row may take
Scores = Mapping[Share, Score | None]


def series_style(name: str, place: int) -> tuple[str, str]:
    """Return colour and marker of a model: its own for those of a run, else by its place among the others.

    Example:
        >>> series_style("zero-shot", 3)
        ('#0072b2', 's')
    """
    colour = MODEL_COLOURS.get(name, SERIES_COLOURS[place % len(SERIES_COLOURS)])
    return colour, MODEL_MARKERS.get(name, SERIES_MARKERS[place % len(SERIES_MARKERS)])


def draw_shares(axes: Axes, models: Mapping[str, Scores], title: str) -> None:
    """Draw a row for each of PT, IR, valid evidence and accuracy, with a dot and an interval per model.

    Args:
        axes: where to draw.
        models: scores by name of the model; what is undefined is left out.
        title: the data set.
    """
    for place, (model, scores) in enumerate(models.items()):
        colour, marker = series_style(model, place)
        dodge = min(_DODGE, _ROOM / len(models)) * (place - (len(models) - 1) / 2)
        known = [(row + dodge, score) for row, name in enumerate(SHARE_NAMES) if (score := scores[name])]
        _bars(axes, known, colour)
        values, heights = [score.value for _, score in known], [height for height, _ in known]
        axes.plot(values, heights, linestyle="none", label=plain(model), **_mark(colour, marker))
    axes.set_yticks(range(len(SHARE_NAMES)), list(SHARE_NAMES.values()))
    axes.set_ylim(len(SHARE_NAMES) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.set(title=plain(title))
    percent_axis(axes, "x")
    legend_below(axes, 3)


def draw_against_accuracy(axes: Axes, models: Mapping[str, Scores], share: Share, title: str) -> None:
    """Draw PT or IR against accuracy, a point with both intervals for each model or method.

    Args:
        axes: where to draw.
        models: scores by name; a model whose share is undefined is left out.
        share: of the vertical axis.
        title: the data set.
    """
    for place, (model, scores) in enumerate(models.items()):
        accuracy, score = scores["accuracy"], scores[share]
        if accuracy is None or score is None:
            continue
        colour, marker = series_style(model, place)
        _bars(axes, [(score.value, accuracy)], colour)
        if score.low is not None and score.high is not None:
            axes.vlines(accuracy.value, score.low, score.high, color=colour, linewidth=1.3, alpha=0.7, zorder=2)
        axes.plot([accuracy.value], [score.value], linestyle="none", label=plain(model), **_mark(colour, marker))
    axes.set(xlabel="accuracy", ylabel=SHARE_NAMES[share], title=plain(title))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    percent_axis(axes, "x")
    percent_axis(axes, "y")
    legend_below(axes, 3)


def draw_threshold_curves(
    axes: Axes, curves: Mapping[str, ThresholdCurve], share: Share, chosen: float | None = None
) -> None:
    """Draw PT, IR or valid evidence against the threshold of a measure, with 95 % intervals as bands.

    Where hardly any evidence is valid, IR rests on a few images; the band tells.

    Args:
        axes: where to draw.
        curves: of one measure, by name of the model.
        share: which.
        chosen: threshold of the rule that the numbers elsewhere come from; None leaves its line out.
    """
    for place, (model, curve) in enumerate(curves.items()):
        colour, _ = series_style(model, place)
        values = curve.share(share)
        low, high = _wilson_band(curve, share)
        axes.fill_between(curve.thresholds, low, high, color=colour, alpha=0.14, linewidth=0, zorder=2)
        axes.plot(curve.thresholds, values, color=colour, label=plain(model), zorder=3)
    if curves:  # also where the share is undefined, so that panels of one measure have one axis
        ends = [(curve.thresholds.min(), curve.thresholds.max()) for curve in curves.values()]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        margin = 0.03 * (high - low) or 0.03
        axes.set_xlim(low - margin, high + margin)
    if chosen is not None:
        axes.axvline(chosen, color=INK, linewidth=1, linestyle=":", zorder=1, label=f"rule: {chosen:g}")
    measure = next(iter(curves.values())).measure.replace("_", " ") if curves else ""
    axes.set(
        xlabel=f"threshold of {measure}",
        ylabel=SHARE_NAMES[share],
        ylim=(-0.02, 1.02),
        title=f"{SHARE_NAMES[share]} by threshold",
    )
    percent_axis(axes, "y")
    legend_below(axes, 2)


def draw_over_severities(axes: Axes, models: Mapping[str, Mapping[int, float]], share: Share, title: str) -> None:
    """Draw PT, IR or valid evidence over the severities of corruptions; 0 is the clean images.

    Args:
        axes: where to draw.
        models: value by severity, by name of the model.
        share: which.
        title: which corruptions.
    """
    for place, (model, values) in enumerate(models.items()):
        colour, marker = series_style(model, place)
        known = sorted(values.items())
        axes.plot(*zip(*known, strict=True), label=plain(model), **_mark(colour, marker, 5.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="severity (0: clean)", ylabel=SHARE_NAMES[share], title=plain(title))
    percent_axis(axes, "y")
    legend_below(axes, 2)


def _bars(axes: Axes, known: Sequence[tuple[float, Score]], colour: str) -> None:
    for height, score in known:
        if score.low is not None and score.high is not None:
            axes.hlines(height, score.low, score.high, color=colour, linewidth=1.3, alpha=0.7, zorder=2)


def _mark(colour: str, marker: str, size: float = 7) -> dict[str, Any]:
    return {
        "color": colour,
        "marker": marker,
        "markersize": size,
        "markeredgecolor": PAPER,
        "markeredgewidth": 0.6,
        "zorder": 4,
    }


def _wilson_band(curve: ThresholdCurve, share: Share) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper ends at every threshold, NaN where the share is undefined."""
    ends = np.full((2, len(curve.thresholds)), np.nan)
    for row, cells in enumerate(curve.counts):
        found = RationaleCounts(*map(int, cells)).shares[share].interval()
        if found:
            ends[:, row] = found
    return ends[0], ends[1]
