"""What publications report for the runs behind the recipes, and a run of one's own beside it."""

import dataclasses
import math
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from vlm_data.tables import Predictions
from vlm_eval.evaluation import PREDICTIONS
from vlm_eval.rows import Row
from vlm_eval.scores import Scoring, score_tables
from vlm_finetune.errors import VlmFinetuneError
from vlm_finetune.recipe import Recipe
from vlm_finetune.run import Run

METRICS = ("accuracy", "batch_averaged_ece")
"""What is printed: accuracy, and the calibration error of the CaRot program (10 bins, mean over batches of 512)."""
MEAN = "mean of shifts"


@dataclasses.dataclass(frozen=True)
class PublishedLine:
    """The printed scores of one model.

    Attributes:
        source: the publication, and where in it.
        secured: how sure the numbers are: read in the publication, second hand, or recalled.
        metric: one of `METRICS`; accuracies are fractions here, printed in per cent.
        method: how the model was fine-tuned; None for the zero-shot model.
        alpha: weight of the fine-tuned model; None where each column may have another, see `rule`.
        rule: how alpha was found, where it was not set in advance.
        values: score by data set, ID first.
        printed_mean: what is printed as the mean over shifts; None if nothing is.
        digits: decimals as printed.
        note: what to know about the numbers.
    """

    source: str
    secured: str
    metric: str
    method: str | None
    alpha: float | None
    rule: str
    values: Mapping[str, float]
    printed_mean: float | None
    digits: int
    note: str

    @property
    def mean(self) -> float:
        """Mean over shifts, computed from the columns."""
        shifts = list(self.values.values())[1:]
        return math.fsum(shifts) / len(shifts)

    @property
    def remarks(self) -> list[str]:
        """What to know about the numbers, a wrong printed mean included."""
        found = [self.note] if self.note else []
        scale = 100 if self.metric == "accuracy" else 1
        if self.printed_mean is not None and not self.rule.startswith("best on each"):
            printed = f"{scale * self.printed_mean:.{self.digits}f}"
            if abs(self.mean - self.printed_mean) * scale > 0.501 * 10**-self.digits:
                found.append(f"the mean is printed as {printed}, which the columns do not give")
        return found


@dataclasses.dataclass(frozen=True)
class Beside:
    """A published line and the scores of one's own run for the same model.

    Attributes:
        published: the line.
        own: score of the run by data set, and `MEAN` where all shifts of the line are there; empty without a run.
    """

    published: PublishedLine
    own: Mapping[str, float]

    @property
    def differences(self) -> dict[str, float]:
        """Own minus published, by data set and `MEAN`."""
        wanted = {**self.published.values, MEAN: self.published.mean}
        return {data: value - wanted[data] for data, value in self.own.items()}


def published_lines(recipe: Recipe) -> list[PublishedLine]:
    """Return what is published for the model, data and method of a recipe, and for the zero-shot model.

    Example:
        >>> from vlm_finetune.recipe_files import resolve
        >>> line = published_lines(resolve("imagenet-carot"))[-1]
        >>> line.metric, line.values["imagenet"], round(line.mean, 4), line.secured
        ('batch_averaged_ece', 0.047, 0.0791, 'second hand, 3 digits')
    """
    found = [
        line
        for model, line in _all_lines()
        if (model, next(iter(line.values))) == (recipe.model.spec, recipe.data.name)
        and line.method in (None, recipe.method)
    ]
    told = {line.source for line in found if line.method}  # a zero-shot line alone is not about this run
    return sorted((line for line in found if line.source in told), key=lambda line: METRICS.index(line.metric))


def beside(recipe: Recipe, run: Run | None = None) -> list[Beside]:
    """Return the published lines of a recipe with the scores of a run, computed from its predictions.

    Args:
        recipe: whose lines.
        run: a run of it; calibration is measured with the estimator that is published. None leaves the scores out.

    Raises:
        VlmFinetuneError: if the run has no predictions yet.
    """
    lines = published_lines(recipe)
    rows = run_scores(run, {line.alpha for line in lines if line.alpha is not None}) if run else []
    return [Beside(line, _own(line, rows)) for line in lines]


def _own(line: PublishedLine, rows: Sequence[Row]) -> dict[str, float]:
    same = [row for row in rows if line.alpha is not None and math.isclose(row["alpha"] or 0.0, line.alpha)]
    scores = {row["data"]: row["metrics"][line.metric] for row in same}
    own = {data: scores[data] for data in line.values if data in scores}
    if own and len(own) == len(line.values):
        shifts = list(own.values())[1:]
        own[MEAN] = math.fsum(shifts) / len(shifts)
    return own


def run_scores(run: Run, alphas: set[float]) -> list[Row]:
    """Return accuracy and published calibration error of a run on its test sets, from its predictions.

    Args:
        run: a run.
        alphas: weights of the fine-tuned model to look at.

    Raises:
        VlmFinetuneError: if it has no predictions yet.
    """
    paths = sorted((run.path / PREDICTIONS).glob("*.parquet"))
    if not paths:
        raise VlmFinetuneError(
            f"{run.path} has no predictions to put beside published scores. Expected a finished run; give its "
            "`vlm finetune` again to finish it."
        )
    tables = (Predictions.load(path) for path in paths)
    wanted = (
        table
        for table in tables
        if table.meta.get("split") == "test" and any(math.isclose(float(table.meta["alpha"]), one) for one in alphas)
    )
    return score_tables(wanted, run=run.path, scoring=Scoring(metrics=METRICS, resamples=0))


@cache
def _all_lines() -> tuple[tuple[str, PublishedLine], ...]:
    text = resources.files("vlm_eval").joinpath("published_scores.toml").read_text(encoding="utf-8")
    return tuple(
        (table["model"], _line(table, line)) for table in tomllib.loads(text)["tables"] for line in table["lines"]
    )


def _line(table: Mapping[str, Any], line: Mapping[str, Any]) -> PublishedLine:
    scale = 0.01 if table["metric"] == "accuracy" else 1.0
    digits = 4 if table["metric"] != "accuracy" else max(len(str(value).partition(".")[2]) for value in line["values"])
    return PublishedLine(
        source=table["source"],
        secured=line.get("secured", table.get("secured", "")),
        metric=table["metric"],
        method=line.get("method"),
        alpha=line.get("alpha"),
        rule=line.get("rule", ""),
        values={data: _scaled(value, scale) for data, value in zip(table["data"], line["values"], strict=True)},
        printed_mean=_scaled(line["mean"], scale) if "mean" in line else None,
        digits=digits,
        note=line.get("note", ""),
    )


def _scaled(value: float, scale: float) -> float:
    return round(value * scale, 6)  # 82.69 per cent are 0.8269, not 0.8269000000000001
