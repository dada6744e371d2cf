"""The figures of a run: panels that go into the page one by one and, side by side, into the files under `figures/`."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from vlm_eval.metrics.reliability import ReliabilityTable
from vlm_eval.plots.alpha_curve import draw_against_alpha, draw_alpha_path
from vlm_eval.plots.overview import draw_scores
from vlm_eval.plots.panel import Panel, draw_axes
from vlm_eval.plots.reliability import draw_counts, draw_reliability
from vlm_eval.plots.spectrum import draw_tails
from vlm_eval.plots.style import METRIC_NAMES, MODEL_COLOURS, legend_below, plain
from vlm_eval.plots.training import draw_learning_rate, draw_loss, draw_progress
from vlm_eval.report.diagnostics import expected_error
from vlm_eval.report.findings import Findings
from vlm_eval.report.rationality_figures import rationality_panels
from vlm_eval.report.spurious_figures import spurious_panels
from vlm_eval.report.wording import percent
from vlm_eval.score_table import ID, MEAN


def panels(findings: Findings) -> dict[str, list[Panel]]:
    """Return the panels of every figure that the files of a run allow, by name of the figure."""
    found = {
        "overview": _overview(findings),
        "scores": _scores(findings),
        "alpha-curve": _alpha_curve(findings),
        "reliability": _reliability(findings),
        "rationality": _rationality(findings),
        "spurious": spurious_panels(findings.discovery, findings.mitigation),
        "training": _training(findings),
        "features": _features(findings),
    }
    return {name: drawn for name, drawn in found.items() if drawn}


def _scores(findings: Findings) -> list[Panel]:
    summary = findings.summary
    sets = sum(column.group != MEAN for column in summary.columns)
    return [
        Panel(
            f"scores-{metric}",
            f"{name} of each model on every data set, with intervals",
            partial(draw_axes, partial(draw_scores, summary=summary, metric=metric)),
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
    return Panel(name, description, partial(draw_axes, draw))


def _alpha_curve(findings: Findings) -> list[Panel]:
    table, alpha = findings.table, findings.alpha
    if len(table.lines) < 2:
        return []
    found = [_alpha_path(findings, "alpha-path")] if table.groups else []
    for metric, name in METRIC_NAMES.items():
        draw = partial(draw_against_alpha, table=table, metric=metric, alpha=alpha)
        description = f"{name} against alpha, on ID and as mean over the shifts"
        found.append(Panel(f"alpha-{metric}", description, partial(draw_axes, draw)))
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
        Panel(name, description, partial(draw_axes, partial(draw, curve=curve)))
        for name, (draw, description) in wanted.items()
    ]


def _rationality(findings: Findings) -> list[Panel]:
    return rationality_panels(findings.rationality) if findings.rationality else []


def _features(findings: Findings) -> list[Panel]:
    tails = {model.model: [model.feature_spectrum_tail] for model in findings.spectra}
    description = "The smallest singular values of the correlation of image features"
    draw = partial(draw_axes, partial(_draw_tails, tails))
    return [Panel("features-tail", description, draw, 5.0)] if tails else []


def _draw_tails(tails: Mapping[str, Sequence[Sequence[float]]], axes: Axes) -> None:
    draw_tails(axes, tails)
    legend_below(axes, 2)


def _draw_reliability(table: ReliabilityTable, colour: str, title: str, figure: FigureBase) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    draw_reliability(above, table, colour, title)
    draw_counts(below, table, colour)
