"""Scores of several seeds as mean and deviation."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence

import numpy as np

from vlm_eval.rows import Row
from vlm_eval.score_table import ID, MEAN
from vlm_eval.summary import summary_table


@dataclasses.dataclass(frozen=True)
class SeedScore:
    """A metric over seeds, fractions.

    Attributes:
        name: of the group of runs.
        model: `zero-shot`, `fine-tuned` or `interpolated`.
        column: label of the data set or mean.
        metric: its name.
        mean: over seeds.
        deviation: sample standard deviation over seeds (n - 1); None for one seed.
        seeds: how many.
    """

    name: str
    model: str
    column: str
    metric: str
    mean: float
    deviation: float | None
    seeds: int


def seed_scores(
    name: str, runs: Sequence[Iterable[Row]], alphas: Sequence[float], metrics: Sequence[str] = ("accuracy", "ece")
) -> list[SeedScore]:
    """Return mean and deviation over runs that differ in their seed, on ID data, every shift and their means.

    Args:
        name: of the group.
        runs: rows of every run.
        alphas: weight of the fine-tuned model in the interpolated one, of every run.
        metrics: which.

    Example:
        >>> row = {"run": None, "model": "fine-tuned", "alpha": 1.0, "split": "test", "severity": None, "role": "id",
        ...     "group": "", "data": "digits", "metrics": {"accuracy": 0.5}, "intervals": {}}
        >>> other = {**row, "metrics": {"accuracy": 0.7}}
        >>> (found,) = seed_scores("full", [[row], [other]], [0.5, 0.5], ["accuracy"])
        >>> found.column, round(found.mean, 3), round(found.deviation, 3)
        ('ID', 0.6, 0.141)
    """
    tables = [summary_table(rows, alpha) for rows, alpha in zip(runs, alphas, strict=True)]
    found = []
    for model in dict.fromkeys(line.model for table in tables for line in table.lines):
        lines = [line for table in tables for line in table.lines if line.model == model]
        for column in tables[0].columns:
            for metric in metrics:
                cells = [line.cells.get(column.key, {}).get(metric) for line in lines]
                values = [score.value for score in cells if score is not None]
                if len(values) == len(tables):
                    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
                    mean = float(np.mean(values))
                    found.append(SeedScore(name, model, column.label, metric, mean, deviation, len(values)))
    return found


def main_columns(rows: Iterable[Row]) -> list[str]:
    """Return the labels of the columns that a short table shows: ID data and means over shifts."""
    return [column.label for column in summary_table(rows).columns if column.group in (ID, MEAN)]


def as_csv(scores: Iterable[SeedScore]) -> str:
    """Return scores as a CSV document, one line each.

    Example:
        >>> as_csv([SeedScore("full", "fine-tuned", "ID", "accuracy", 0.5, None, 1)]).splitlines()[1]
        'full,fine-tuned,ID,accuracy,0.5,,1'
    """
    text = io.StringIO()
    fields = [field.name for field in dataclasses.fields(SeedScore)]
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(score) for score in scores)
    return text.getvalue()
