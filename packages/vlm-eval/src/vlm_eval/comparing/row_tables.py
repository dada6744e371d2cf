"""Rows of many runs and benchmarks, sorted into tables whose lines compare."""

import dataclasses
from collections.abc import Iterable, Sequence

from vlm_data.errors import unknown_name
from vlm_eval.catalog import load_metric, metric_names
from vlm_eval.rows import Row
from vlm_eval.score_table import ScoreTable, score_table


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The scores of one run, or of models evaluated on their own, on one benchmark.

    Attributes:
        run: run directory; None for models evaluated on their own.
        method: how the run was fine-tuned, None if it was not or does not tell.
        benchmark: what the names of the data sets begin with; empty for data sets that stand alone.
        table: the scores.
    """

    run: str | None
    method: str | None
    benchmark: str
    table: ScoreTable


def compare(rows: Iterable[Row], split: str = "test") -> list[Comparison]:
    """Sort rows into one table for each run and benchmark, in the order of first appearance.

    A data set belongs to the benchmark before its slash (`digits/invert` to `digits`); data sets without shifts, and
    those of the WiSE-FT program, whose names have no slash, share one table.

    Args:
        rows: see `vlm_eval.results.latest`; no measurement twice.
        split: `test` or `val`.

    Raises:
        CallError: if a measurement is there twice.

    Example:
        >>> base = {"run": None, "method": None, "model": "tiny", "alpha": None, "split": "test", "severity": None,
        ...     "metrics": {"accuracy": 0.5}, "intervals": {}}
        >>> rows = [{**base, "data": "digits", "role": "id", "group": ""},
        ...     {**base, "data": "digits/invert", "role": "shift", "group": "natural"}]
        >>> [(found.benchmark, len(found.table.columns)) for found in compare(rows)]
        [('digits', 2)]
    """
    chosen = [row for row in rows if row["split"] == split and row["severity"] is None]
    families = {row["data"].partition("/")[0] for row in chosen if "/" in row["data"]}
    found: dict[tuple[str | None, str], list[Row]] = {}
    for row in chosen:
        first = row["data"].partition("/")[0]
        found.setdefault((row["run"], first if first in families else ""), []).append(row)
    return [
        Comparison(run, _method(members), benchmark, score_table(members, split))
        for (run, benchmark), members in found.items()
    ]


def keep_metrics(rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """Return the rows with these metrics only; a row that has none of them is left out.

    Raises:
        CallError: for a metric that no row has; the nearest is offered.

    Example:
        >>> keep_metrics([{"metrics": {"ece": 0.1, "nll": 2.0}, "intervals": {"ece": [0.0, 0.2]}}], ["nll"])
        [{'metrics': {'nll': 2.0}, 'intervals': {}}]
    """
    known = {name for row in rows for name in row["metrics"]}
    for metric in metrics:
        if known and metric not in known:
            raise unknown_name("metric", metric, known)
    kept: list[Row] = []
    for row in rows:
        values = {name: row["metrics"][name] for name in metrics if name in row["metrics"]}
        intervals = {name: row["intervals"][name] for name in values if name in row["intervals"]}
        if values:
            kept.append({**row, "metrics": values, "intervals": intervals})
    return kept


def is_share(metric: str) -> bool:
    """Return whether a metric lies in [0, 1] by definition, so that people read it as per cent.

    Example:
        >>> is_share("accuracy"), is_share("nll"), is_share("a metric of another program")
        (True, False, False)
    """
    name = metric.removesuffix("_rescaled")  # after temperature scaling
    return name in metric_names() and load_metric(name)["range"] == (0.0, 1.0)


def _method(rows: Iterable[Row]) -> str | None:
    methods = {row["method"] for row in rows}
    return methods.pop() if len(methods) == 1 else None
