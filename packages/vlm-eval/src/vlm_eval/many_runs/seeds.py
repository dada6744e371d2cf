"""Scores of several seeds as mean and deviation."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vlm_eval.rows import Row
from vlm_eval.score_table import ID, MEAN
from vlm_eval.summary import INTERPOLATED, summary_table


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
        values: of every seed, in the order of the runs.
        alphas: weights of the fine-tuned model in this one, of every seed.
    """

    name: str
    model: str
    column: str
    metric: str
    mean: float
    deviation: float | None
    seeds: int
    values: tuple[float, ...] = ()
    alphas: tuple[float, ...] = ()

    @property
    def model_label(self) -> str:
        """The model with its alpha, or the range of those that its runs chose.

        Example:
            >>> SeedScore("flyp", "interpolated", "ID", "ece", 0.1, None, 2, (0.1, 0.1), (0.3, 0.7)).model_label
            'interpolated, alpha 0.3 to 0.7'
        """
        if self.model != INTERPOLATED or not self.alphas:
            return self.model
        low, high = min(self.alphas), max(self.alphas)
        return f"{self.model}, alpha {low:g}" + (f" to {high:g}" if high > low else "")


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
                    found.append(
                        SeedScore(
                            name,
                            model,
                            column.label,
                            metric,
                            float(np.mean(values)),
                            deviation,
                            len(values),
                            tuple(values),
                            tuple(line.alpha or 0.0 for line in lines),
                        )
                    )
    return found


def main_columns(rows: Iterable[Row]) -> list[str]:
    """Return the labels of the columns that a short table shows: ID data and means over shifts."""
    return [column.label for column in summary_table(rows).columns if column.group in (ID, MEAN)]


def as_csv(scores: Iterable[SeedScore], settings: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return scores as a CSV document, one line each; values and alphas of several seeds with spaces between them.

    Args:
        scores: of any number of groups.
        settings: what tells the groups apart, `TABLE.KEY` and value by name of the group; each becomes a column.

    Example:
        >>> score = SeedScore("flyp", "fine-tuned", "ID", "accuracy", 0.5, 0.25, 2, (0.25, 0.75), (1.0, 1.0))
        >>> print(as_csv([score], {"flyp": {"method.name": "flyp"}}))
        name,method.name,model,column,metric,mean,deviation,seeds,values,alphas
        flyp,flyp,fine-tuned,ID,accuracy,0.5,0.25,2,0.25 0.75,1.0 1.0
    """
    known = settings or {}
    keys = list(dict.fromkeys(key for values in known.values() for key in values))
    name, *fields = [field.name for field in dataclasses.fields(SeedScore)]
    text = io.StringIO()
    writer = csv.DictWriter(text, [name, *keys, *fields], lineterminator="\n")
    writer.writeheader()
    for score in scores:
        cells = dataclasses.asdict(score) | dict(known.get(score.name, {}))
        writer.writerow(cells | {field: " ".join(map(str, cells[field])) for field in ("values", "alphas")})
    return text.getvalue()
