"""The one shape of a score: a row says which model on which data, how many samples, and the numbers."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict


class Row(TypedDict):
    """Scores of one model on one data set; fractions, never per cent. Printed, stored and plotted in this shape.

    Attributes:
        model: `zero-shot`, `fine-tuned`, `interpolated` or a model spec.
        run: run directory, None outside a run.
        method: how it was fine-tuned, None if it was not.
        alpha: weight of the fine-tuned model, None where nothing was interpolated.
        data: `digits`, `digits/invert`, `digits/noise-3`; `digits/noise` for the mean over severities.
        split: `test` or `val`.
        role: `id` or `shift`.
        group: `natural` or `corruption` for shifts, empty otherwise.
        severity: 1, 2, ... for one member of a corruption, None otherwise.
        n: labelled samples scored, summed over severities; None only in lines of programs that do not tell.
        metrics: value by name of metric.
        intervals: lower and upper end by name of metric, 95 % unless asked otherwise.
        hashes: what identifies class names, templates, preprocessing, weights and data.
        written: UTC time in ISO 8601, only in rows that come from a results database.
    """

    model: str
    run: str | None
    method: str | None
    alpha: float | None
    data: str
    split: str
    role: str
    group: str
    severity: int | None
    n: int | None
    metrics: dict[str, float]
    intervals: dict[str, list[float]]
    hashes: dict[str, str]
    written: NotRequired[str]


def row_of_table(meta: Mapping[str, str], n: int, metrics: dict[str, float], intervals: dict[str, list[float]]) -> Row:
    """Return the row of a table of predictions or rationales; the table does not know its run.

    Args:
        meta: of the table.
        n: samples scored.
        metrics: value by name.
        intervals: lower and upper end by name.

    Example:
        >>> row = row_of_table({"model": "tiny", "data": "digits", "weights_hash": "ab"}, 600, {"accuracy": 0.5}, {})
        >>> row["alpha"], row["split"], row["severity"], row["hashes"]
        (None, 'test', None, {'weights': 'ab'})
    """
    alpha = meta.get("alpha", "")
    return {
        "model": meta.get("model", ""),
        "run": None,
        "method": None,
        "alpha": float(alpha) if alpha else None,
        "data": meta.get("data", ""),
        "split": meta.get("split", "test"),
        "role": meta.get("role", "id"),
        "group": meta.get("group", ""),
        "severity": int(meta.get("severity") or 0) or None,
        "n": n,
        "metrics": metrics,
        "intervals": intervals,
        "hashes": {key.removesuffix("_hash"): value for key, value in meta.items() if key.endswith("_hash")},
    }


def row_key(row: Row) -> tuple[object, ...]:
    """Return what makes two rows the same measurement: run, model, data, split, alpha, severity and number of samples.

    A part of a data set (`--limit`) is another measurement than the whole. Alphas are compared to six digits, because
    3 * 0.1 is not 0.3.
    """
    alpha = None if row["alpha"] is None else round(row["alpha"], 6)
    return row["run"], row["model"], row["data"], row["split"], alpha, row["severity"], row["n"]
