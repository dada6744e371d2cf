"""The tables of a report as text, ready for the template."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from vlm_eval.plots.style import METRIC_NAMES
from vlm_eval.report.findings import Findings
from vlm_eval.report.wording import interval, percent
from vlm_eval.score_table import GROUP_NAMES, ID, MEAN, Column, Line, Score, ScoreTable
from vlm_eval.summary import FINE_TUNED, INTERPOLATED, ZERO_SHOT, oracle_alphas

NOT_SCORED = "–"


@dataclasses.dataclass(frozen=True)
class Head:
    """Heading of a column; `starts_group` asks for a line before it, `is_mean` for room to break it."""

    label: str
    starts_group: bool
    is_mean: bool


@dataclasses.dataclass(frozen=True)
class TextCell:
    """One score as text; the interval is empty where there is none."""

    value: str
    interval: str = ""
    starts_group: bool = False
    is_oracle: bool = False


@dataclasses.dataclass(frozen=True)
class TextLine:
    """One line of a table; `metric` and `is_chosen` are used by the tables that need them."""

    name: str
    cells: tuple[Any, ...]
    metric: str = ""
    is_chosen: bool = False
    temperature: str = ""


@dataclasses.dataclass(frozen=True)
class TextTable:
    """A table as text; `groups` are the headings of a calibration table."""

    lines: tuple[TextLine, ...]
    heads: tuple[Head, ...] = ()
    name: str = ""
    groups: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class CalibrationCell:
    """Before and after temperature scaling, as text."""

    ece: str
    nll: str


def scores_as_text(summary: ScoreTable) -> TextTable:
    """Return the summary with a line for accuracy and one for ECE of each model, and for the worst group, if any."""
    shown = {"accuracy": "accuracy", "worst_group_accuracy": "worst group"} | METRIC_NAMES
    lines = [
        TextLine(
            model_name(line),
            tuple(_cell(line, column, metric, starts) for column, starts in _grouped(summary.columns)),
            name,
        )
        for line in summary.lines
        for metric, name in shown.items()
        if metric in METRIC_NAMES or any(metric in cell for cell in line.cells.values())
    ]
    return TextTable(tuple(lines), _heads(summary))


def alphas_as_text(table: ScoreTable, alpha: float, metric: str) -> TextTable:
    """Return one metric at every alpha, with the best of each column marked as the oracle it is."""
    best = oracle_alphas(table, metric)
    lines = [
        TextLine(
            _alpha_name(line, alpha),
            tuple(
                dataclasses.replace(
                    _cell(line, column, metric, starts),
                    interval="",
                    is_oracle=best.get(column.key) == line.alpha,
                )
                for column, starts in _grouped(table.columns)
            ),
            is_chosen=line.alpha == alpha,
        )
        for line in table.lines
    ]
    return TextTable(tuple(lines), _heads(table), {"accuracy": "Accuracy"}.get(metric, METRIC_NAMES[metric]))


def calibration_as_text(findings: Findings) -> TextTable:
    """Return calibration before and after temperature scaling; no lines without a validation table."""
    models = {line.model: line for line in findings.summary.lines if line.model in findings.temperatures}
    found = {model: findings.calibration(model) for model in models}
    groups = [group for group in (ID, *findings.summary.groups) if all(group in cells for cells in found.values())]
    lines = [
        TextLine(
            model_name(models[model]),
            tuple(
                CalibrationCell(
                    f"{percent(cells[group].ece_before)} → {percent(cells[group].ece_after)}",
                    f"{cells[group].nll_before:.3f} → {cells[group].nll_after:.3f}",
                )
                for group in groups
            ),
            temperature=f"{findings.temperatures[model]:.3f}",
        )
        for model, cells in found.items()
    ]
    return TextTable(tuple(lines), groups=tuple("ID" if g == ID else GROUP_NAMES.get(g, g) for g in groups))


def model_name(line: Line) -> str:
    """Return what a line is called in tables.

    Example:
        >>> model_name(Line("interpolated", 0.5, {})), model_name(Line("zero-shot", 0.0, {}))
        ('interpolated, alpha = 0.5', 'zero-shot')
    """
    return f"{line.model}, alpha = {line.alpha:g}" if line.model == INTERPOLATED else line.model


def _alpha_name(line: Line, chosen: float) -> str:
    notes = [name for name, value in ((ZERO_SHOT, 0.0), (FINE_TUNED, 1.0), ("chosen", chosen)) if line.alpha == value]
    return f"{line.alpha:g}" + (f" ({', '.join(notes)})" if notes else "")


def _heads(table: ScoreTable) -> tuple[Head, ...]:
    return tuple(Head(column.label, starts, column.group == MEAN) for column, starts in _grouped(table.columns))


def _grouped(columns: Sequence[Column]) -> list[tuple[Column, bool]]:
    """Every column, and whether a new group starts with it."""
    before = [None, *[column.group for column in columns]]
    return [(column, column.group != group) for column, group in zip(columns, before, strict=False)]


def _cell(line: Line, column: Column, metric: str, starts: bool) -> TextCell:
    score: Score | None = line.cells.get(column.key, {}).get(metric)
    return TextCell(percent(score.value), interval(score), starts) if score else TextCell(NOT_SCORED, "", starts)
