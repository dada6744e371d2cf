"""Baselines: accuracies of models without the intervention, on which effective robustness is measured."""

import csv
import dataclasses
import io
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from vlm_data.errors import CallError, unknown_name
from vlm_eval.metrics.robustness import FEWEST_BASELINES, BaselineFit, fit_baseline
from vlm_eval.run_files import read_run, run_folders
from vlm_eval.score_table import MEAN, score_table
from vlm_eval.scores import Scoring, score_tables

MODEL = "model"
_ADVICE = "Write one line per model, accuracies as fractions, an empty cell where a model was not evaluated."


@dataclasses.dataclass(frozen=True, eq=False)
class Baselines:
    """Accuracies of models that were trained on in-distribution data alone.

    Attributes:
        source: where they are from, for messages.
        models: their names.
        accuracy: by data set, one per model, strictly between 0 and 1; NaN where a model was not evaluated. A
            corruption stands for the mean over its severities.
    """

    source: str
    models: tuple[str, ...]
    accuracy: Mapping[str, Float64[np.ndarray, " models"]]

    def check_names(self, known: Collection[str]) -> None:
        """Refuse a column that is none of the data sets of the judged runs.

        Raises:
            CallError: the nearest data set is offered.
        """
        for data in self.accuracy:
            if data not in known:
                raise unknown_name(
                    "data set", data, known, f"It is a column of {self.source}; correct its name or leave it out."
                )

    def check_reference(self, reference: Sequence[str]) -> None:
        """Refuse baselines without a column for the ID data.

        Raises:
            CallError: names the columns there are.
        """
        for data in reference:
            if data not in self.accuracy:
                raise CallError(
                    f"{self.source} has no column {data!r}, the ID data of the runs; it has "
                    f"{', '.join(self.accuracy)}. Expected ID accuracy and accuracy under shift of every baseline."
                )

    def mean(self, data: Sequence[str]) -> Float64[np.ndarray, " models"] | None:
        """Return the mean accuracy over data sets for every model, each counting once; None without all columns."""
        if not data or any(name not in self.accuracy for name in data):
            return None
        return np.mean([self.accuracy[name] for name in data], axis=0)

    def fit(self, reference: Sequence[str], shifted: Sequence[str]) -> BaselineFit | None:
        """Fit `logit(shifted) = slope logit(reference) + intercept` to the models evaluated on all these data sets.

        Args:
            reference: ID data sets; their mean counts.
            shifted: the shift, or the shifts over which the mean is taken.

        Returns:
            None if a data set has no column.

        Raises:
            CallError: see `fit_baseline`.
        """
        x, y = self.mean(reference), self.mean(shifted)
        if x is None or y is None:
            return None
        known = np.isfinite(x) & np.isfinite(y)
        return fit_baseline(x[known], y[known])


def read_baselines(path: str | os.PathLike[str]) -> Baselines:
    """Read a CSV of baselines: a column `model` and one column per data set, named as in results (`digits/invert`).

    Raises:
        CallError: if the file is missing or no such table, has fewer than three models, or a cell is not an accuracy
            strictly between 0 and 1; the message names line and column.
    """
    try:
        lines = list(csv.reader(io.StringIO(Path(path).read_text(encoding="utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise CallError(
            f"cannot read the baselines {path}: {reason}. Expected a CSV file in UTF-8 with a column {MODEL!r} and one "
            "column per data set; `vlm baselines RUN... --out FILE` writes one."
        ) from error
    lines = [[cell.strip() for cell in line] for line in lines if any(cell.strip() for cell in line)]
    heads = lines[0] if lines else []
    _check_heads(heads, path)
    place = heads.index(MODEL)
    columns = [(number, head) for number, head in enumerate(heads) if number != place]
    models, values = [], []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(heads):
            raise CallError(f"{path}, line {number}: {len(line)} cells under {len(heads)} headings. {_ADVICE}")
        models.append(line[place])
        values.append([_accuracy(line[column], f"{path}, line {number}, {head!r}") for column, head in columns])
    return _checked(str(path), models, {head: [row[at] for row in values] for at, (_, head) in enumerate(columns)})


def baselines_of_runs(folders: Iterable[str | os.PathLike[str]]) -> Baselines:
    """Return the fine-tuned models of runs as baselines, each by the name of its folder.

    They are baselines if they saw nothing but ID data: runs that started from random weights (`tiny:random`,
    `openclip:ARCH`). The models that are judged are never among their own baselines.

    Args:
        folders: run directories, or folders of run directories such as the --out of a sweep.

    Raises:
        CallError: for fewer than three runs, runs of different benchmarks, or an accuracy of 0 or 1.
        VlmError: if a run is damaged.
    """
    names: list[str] = []
    found: dict[str, dict[str, float]] = {}
    for path in (path for folder in folders for path in run_folders(folder)):
        run = read_run(path)
        table = score_table(score_tables(run.tables(1.0), scoring=Scoring(metrics=("accuracy",), resamples=0)))
        if not table.lines:
            raise CallError(f"{run.path} has no predictions at alpha 1; expected a finished run of `vlm finetune`.")
        name = run.path.name if run.path.name not in names else str(run.path)
        names.append(name)
        cells = table.lines[0].cells
        found[name] = {c.key: cells[c.key]["accuracy"].value for c in table.columns if c.group != MEAN}
    columns = list(dict.fromkeys(data for cells in found.values() for data in cells))
    for name, cells in found.items():
        missing = [data for data in columns if data not in cells]
        if missing:
            raise CallError(f"{name} was not evaluated on {', '.join(missing)}; expected runs of one benchmark.")
    values = {data: [_within(found[name][data], f"{name} on {data}") for name in names] for data in columns}
    return _checked("the runs", names, values)


def baselines_csv(baselines: Baselines) -> str:
    """Return baselines as the CSV document that `read_baselines` reads; accuracies keep every digit.

    Example:
        >>> table = {"digits": np.array([0.5, 0.6, 0.7]), "digits/invert": np.array([0.25, np.nan, 0.5])}
        >>> baselines_csv(Baselines("", ("a", "b", "c"), table)).splitlines()[:3]
        ['model,digits,digits/invert', 'a,0.5,0.25', 'b,0.6,']
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([MODEL, *baselines.accuracy])
    for row, model in enumerate(baselines.models):
        cells = [float(values[row]) for values in baselines.accuracy.values()]
        writer.writerow([model, *["" if math.isnan(cell) else repr(cell) for cell in cells]])
    return text.getvalue()


def _check_heads(heads: Sequence[str], path: object) -> None:
    twice = sorted({head for head in heads if heads.count(head) > 1})
    if twice:
        raise CallError(f"{path} has the column {twice[0]!r} twice. Expected every data set once.")
    if MODEL not in heads or len(heads) < 3:
        shown = ", ".join(repr(head) for head in heads) or "nothing"
        raise CallError(
            f"the first line of {path} is {shown}; expected the headings {MODEL!r}, the ID data set and at least one "
            f"shift, such as {MODEL},digits,digits/invert. {_ADVICE}"
        )


def _accuracy(cell: str, place: str) -> float:
    if not cell:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        raise CallError(f"{place}: {cell!r} is no number. {_ADVICE}") from None
    return _within(value, place)


def _within(value: float, place: str) -> float:
    if 0 < value < 1:
        return value
    if value in (0.0, 1.0):
        raise CallError(
            f"{place}: an accuracy of {value:g} has no logit, so no line can go through it. Expected accuracies "
            "strictly between 0 and 1; leave that model out, or evaluate it on more images."
        )
    hint = "It looks like per cent; divide by 100. " if 1 < value <= 100 else ""
    raise CallError(f"{place}: {value:g} is no accuracy between 0 and 1. {hint}{_ADVICE}")


def _checked(source: str, models: Sequence[str], values: Mapping[str, Sequence[float]]) -> Baselines:
    twice = sorted({model for model in models if models.count(model) > 1})
    if twice:
        raise CallError(f"{source}: the model {twice[0]!r} is there twice. Expected every baseline once.")
    if len(models) < FEWEST_BASELINES:
        raise CallError(
            f"{source}: {len(models)} baselines are too few, a line goes through any two points. Expected at least "
            f"{FEWEST_BASELINES} models of different ID accuracy; 10 or more make a useful band."
        )
    return Baselines(source, tuple(models), {data: np.array(column) for data, column in values.items()})
