"""The figures of a run: panels that go into the page one by one and, side by side, into the files under `figures/`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from vlm_eval.metrics.reliability import ReliabilityTable
from vlm_eval.plots.alpha_curve import draw_against_alpha, draw_alpha_path
from vlm_eval.plots.image import inline_svg, png_bytes, svg_bytes
from vlm_eval.plots.overview import draw_scores
from vlm_eval.plots.reliability import draw_counts, draw_reliability
from vlm_eval.plots.spectrum import draw_tails
from vlm_eval.plots.style import METRIC_NAMES, MODEL_COLOURS, house_style, legend_below, new_figure, plain
from vlm_eval.plots.training import draw_learning_rate, draw_loss, draw_progress
from vlm_eval.report.diagnostics import expected_error
from vlm_eval.report.findings import Findings
from vlm_eval.report.wording import percent
from vlm_eval.score_table import ID, MEAN

Draw = Callable[[FigureBase], None]


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        name: unique in a report, letters and hyphens.
        description: what it shows, for those who cannot see it.
        draw: draws it onto an empty figure.
        width, height: inches.
    """

    name: str
    description: str
    draw: Draw
    width: float = 4.5
    height: float = 4.0


def panels(findings: Findings) -> dict[str, list[Panel]]:
    """Return the panels of every figure that the files of a run allow, by name of the figure."""
    found = {
        "overview": _overview(findings),
        "scores": _scores(findings),
        "alpha-curve": _alpha_curve(findings),
        "reliability": _reliability(findings),
        "training": _training(findings),
        "features": _features(findings),
    }
    return {name: drawn for name, drawn in found.items() if drawn}


def panel_svg(panel: Panel) -> str:
    """Return a panel as an element for the page, see `vlm_eval.plots.image.inline_svg`."""
    with house_style():
        figure = new_figure(panel.width, panel.height)
        panel.draw(figure)
        return inline_svg(figure, panel.name, panel.description)


def figure_bytes(drawn: Sequence[Panel], kind: str, columns: int = 3) -> bytes:
    """Return panels side by side as one picture on white.

    Args:
        drawn: of one figure.
        kind: `svg` or `png`.
        columns: panels per row.
    """
    rows = [drawn[first : first + columns] for first in range(0, len(drawn), columns)]
    widths = [max(row[place].width for row in rows if place < len(row)) for place in range(len(rows[0]))]
    heights = [max(panel.height for panel in row) for row in rows]
    with house_style():
        figure = new_figure(sum(widths), sum(heights))
        grid = figure.subfigures(len(rows), len(widths), squeeze=False, width_ratios=widths, height_ratios=heights)
        for place, panel in enumerate(drawn):
            panel.draw(grid[divmod(place, columns)])
        return svg_bytes(figure) if kind == "svg" else png_bytes(figure)


def _scores(findings: Findings) -> list[Panel]:
    summary = findings.summary
    sets = sum(column.group != MEAN for column in summary.columns)
    return [
        Panel(
            f"scores-{metric}",
            f"{name} of each model on every data set, with intervals",
            partial(_draw_axes, partial(draw_scores, summary=summary, metric=metric)),
            height=1.5 + 0.36 * sets,
        )
        for metric, name in METRIC_NAMES.items()
        if summary.lines
    ]


def _overview(findings: Findings) -> list[Panel]:
    """What one picture in a README can tell: accuracy everywhere, and the way there."""
    scores = _scores(findings)[:1]
    if not scores or not findings.summary.groups:
        return scores
    path = _alpha_path(findings, "overview-path")
    return [*scores, dataclasses.replace(path, height=max(path.height, scores[0].height))]


def _alpha_path(findings: Findings, name: str) -> Panel:
    draw = partial(draw_alpha_path, table=findings.table, alpha=findings.alpha)
    description = "Mean accuracy on the shifts against ID accuracy, for every alpha"
    return Panel(name, description, partial(_draw_axes, draw))


def _alpha_curve(findings: Findings) -> list[Panel]:
    table, alpha = findings.table, findings.alpha
    if len(table.lines) < 2:
        return []
    found = [_alpha_path(findings, "alpha-path")] if table.groups else []
    for metric, name in METRIC_NAMES.items():
        draw = partial(draw_against_alpha, table=table, metric=metric, alpha=alpha)
        description = f"{name} against alpha, on ID and as mean over the shifts"
        found.append(Panel(f"alpha-{metric}", description, partial(_draw_axes, draw)))
    return found


def _reliability(findings: Findings) -> list[Panel]:
    known, worst = findings.summary.members(ID), findings.worst_shift
    found = []
    for column in [*known[:1], *([worst] if worst else [])]:
        for model, table in findings.reliability(column).items():
            title = f"{model}, {column.label}\nECE {percent(expected_error(table))} %"
            draw = partial(_draw_reliability, table, MODEL_COLOURS[model], plain(title))
            description = f"Reliability diagram of the {model} model on {column.label}"
            found.append(Panel(f"reliability-{len(found)}", description, draw, 3.2, 3.9))
    return found


def _training(findings: Findings) -> list[Panel]:
    curve = findings.curve
    if curve is None:
        return []
    wanted = {
        "training-accuracy": (draw_progress, "Accuracy on ID validation and on tracked shifts per epoch"),
    }
    if curve.loss.epochs or curve.diverged is not None:  # a search over heads takes no optimiser step
        wanted |= {
            "training-loss": (draw_loss, "Training loss per optimiser step"),
            "training-lr": (draw_learning_rate, "Learning rate per optimiser step"),
        }
    return [
        Panel(name, description, partial(_draw_axes, partial(draw, curve=curve)))
        for name, (draw, description) in wanted.items()
    ]


def _features(findings: Findings) -> list[Panel]:
    tails = {model.model: [model.feature_spectrum_tail] for model in findings.spectra}
    description = "The smallest singular values of the correlation of image features"
    draw = partial(_draw_axes, partial(_draw_tails, tails))
    return [Panel("features-tail", description, draw, 5.0)] if tails else []


def _draw_tails(tails: Mapping[str, Sequence[Sequence[float]]], axes: Axes) -> None:
    draw_tails(axes, tails)
    legend_below(axes, 2)


def _draw_axes(draw: Callable[..., None], figure: FigureBase) -> None:
    draw(figure.add_subplot())


def _draw_reliability(table: ReliabilityTable, colour: str, title: str, figure: FigureBase) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    draw_reliability(above, table, colour, title)
    draw_counts(below, table, colour)
