"""How a training went: loss, learning rate, validation and tracked shifts over epochs."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vlm_eval.plots.marks import draw_ring
from vlm_eval.plots.style import INK, MODEL_COLOURS, SERIES_COLOURS, SERIES_MARKERS, legend_below, percent_axis, plain
from vlm_eval.training_curve import TrainingCurve

_WARNING = "#c81e1e"


def draw_loss(axes: Axes, curve: TrainingCurve) -> None:
    """Draw the training loss per optimiser step; a step whose loss was not finite is marked."""
    axes.plot(curve.loss.epochs, curve.loss.values, color=MODEL_COLOURS["fine-tuned"], linewidth=1.2)
    if curve.diverged is not None:
        axes.axvline(curve.diverged, color=_WARNING, linestyle="--")
        axes.annotate(
            "loss not finite ",
            (curve.diverged, 0.97),
            xycoords=("data", "axes fraction"),
            color=_WARNING,
            ha="right",
            va="top",
            fontsize=8,
        )
    _finish(axes, curve, "training loss")


def draw_learning_rate(axes: Axes, curve: TrainingCurve) -> None:
    """Draw the learning rate per optimiser step."""
    axes.plot(curve.lr.epochs, curve.lr.values, color=MODEL_COLOURS["zero-shot"], linewidth=1.2)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    _finish(axes, curve, "learning rate")


def draw_progress(axes: Axes, curve: TrainingCurve) -> None:
    """Draw accuracy per epoch on ID validation and on the tracked shifts; mark kept epochs and collapses."""
    axes.plot(
        curve.validation.epochs, curve.validation.values, color=INK, marker="o", markersize=3.5, label="ID validation"
    )
    for place, (name, points) in enumerate(curve.shifts.items()):
        axes.plot(
            points.epochs,
            points.values,
            color=SERIES_COLOURS[place % len(SERIES_COLOURS)],
            marker=SERIES_MARKERS[place % len(SERIES_MARKERS)],
            markersize=3.5,
            linewidth=1.1,
            label=_short(name),
        )
    _mark_kept_epochs(axes, curve)
    last = max([*curve.validation.epochs, *curve.loss.epochs])
    for place, collapse in enumerate(curve.collapses):
        axes.axvline(collapse.epoch, color=_WARNING, linestyle="--", linewidth=1)
        is_late = collapse.epoch > last / 2
        axes.annotate(
            f"{_short(collapse.data)} collapsed",
            (collapse.epoch, 0.04 + 0.07 * place),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if is_late else 4, 0),
            textcoords="offset points",
            ha="right" if is_late else "left",
            color=_WARNING,
            fontsize=8,
        )
    axes.set_ylim(0, 1)
    percent_axis(axes, "y")
    _finish(axes, curve, "accuracy")
    legend_below(axes, 4)


def _mark_kept_epochs(axes: Axes, curve: TrainingCurve) -> None:
    values = dict(zip(curve.validation.epochs, curve.validation.values, strict=True))
    kept = [epoch for epoch in curve.best_epochs if epoch in values]
    draw_ring(axes, kept, [values[epoch] for epoch in kept], "best epoch")


def _finish(axes: Axes, curve: TrainingCurve, label: str) -> None:
    for start in curve.phase_starts:
        axes.axvline(start, color=INK, linewidth=0.8, alpha=0.5, linestyle=":")
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlim(left=0)


def _short(data: str) -> str:
    return plain(data.rsplit("/", 1)[-1])
