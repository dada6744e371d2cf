"""Results database of WiSE-FT and its descendants: one JSON object per line and alpha, `<Dataset>:top1`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlm_data.errors import CallError
from vlm_data.files import write_text
from vlm_eval import results
from vlm_eval.foreign_names import WISE_FT, group_of, ours, role_of, theirs
from vlm_eval.rows import Row
from vlm_eval.wise_results import is_wise_line

SUMMARY = "results database of WiSE-FT (JSON lines)"
_METRICS = {
    "accuracy": "top1",
    "macro_f1": "F1-macro_all",
    "mean_per_class_recall": "recall-macro_all",
    "worst_region_accuracy": "acc_worst_region",
    "worst_year_accuracy": "acc_worst_year",
}
_OURS = {theirs: name for name, theirs in _METRICS.items()}
"""Those of the WILDS data sets are over the classes, regions and years that occur, here as there."""


def recognises(text: str) -> bool:
    """Return whether a line is one of that program, and not one of ours, which has its keys too.

    Example:
        >>> recognises('{"alpha": 0.5, "ImageNet:top1": 0.7}'), recognises('{"schema": 1, "alpha": 0.5, "a:top1": 1}')
        (True, False)
    """
    return any(is_wise_line(record) for line in text.splitlines()[:100] if "schema" not in (record := _object(line)))


def read(path: Path, text: str) -> tuple[list[Row], list[str]]:
    """Return the rows of all lines, with the names that data sets have here."""
    rows, problems = results.read(path)
    named: list[Row] = []
    for row in rows:
        data, split = ours(row["data"], WISE_FT)
        known = (row["data"], "test") != (data, split)
        role = role_of(data) if known else row["role"]
        group = group_of(data, role)
        metrics = {_OURS.get(name, name): value for name, value in row["metrics"].items()}
        named.append({**row, "data": data, "split": split, "role": role, "group": group, "metrics": metrics})
    return named, problems


def write(rows: Sequence[Row], target: Path) -> list[str]:
    """Write one line per run and alpha, as one call of that program does.

    It has no place for the number of samples, intervals and hashes, and tells splits apart by name only: validation
    scores of data sets whose validation split it does not know are left out.
    """
    lines: dict[tuple[str | None, str, float | None], dict[str, Any]] = {}
    left_out = 0
    for row in rows:
        place = (row["data"], row["split"])
        if row["split"] != "test" and place not in WISE_FT:
            left_out += 1
            continue
        key = (row["run"], row["model"] if row["alpha"] is None else "", row["alpha"])
        line = lines.setdefault(key, {"alpha": row["alpha"], "exp_name": row["run"] or row["model"]})
        if row["role"] == "id" and row["split"] == "test":
            line["train_dataset"] = theirs(place, WISE_FT)
        for metric, value in row["metrics"].items():
            line[f"{theirs(place, WISE_FT)}:{_METRICS.get(metric, metric)}"] = value
    if not any(is_wise_line(line) for line in lines.values()):
        raise CallError(
            "none of the rows has an accuracy on a test set; expected one, WiSE-FT files hold nothing else."
        )
    kept = [line for line in lines.values() if is_wise_line(line)]
    write_text(target, "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept))
    return [f"{left_out} validation rows were left out; the format has no splits"] if left_out else []


def _object(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
