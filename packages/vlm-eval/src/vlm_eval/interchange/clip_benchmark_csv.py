"""The table that `clip_benchmark build` makes of its JSON files: one line per model and data set."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlm_data.files import write_text
from vlm_eval.interchange.clip_benchmark import FIELDS, OWN_FIELDS, record_of, row_of
from vlm_eval.rows import Row

SUMMARY = "CSV of `clip_benchmark build`"
_NAME = "model_fullname"


def recognises(text: str) -> bool:
    r"""Return whether the first line names data set, model and weights; that program changes the order of columns.

    Example:
        >>> recognises("acc1,pretrained,dataset,model\n"), recognises("dataset,acc1\n")
        (True, False)
    """
    header = next(csv.reader(text.splitlines()[:1]), [])
    return {"dataset", "model", "pretrained"} <= set(header)


def read(path: Path, text: str) -> tuple[list[Row], list[str]]:
    """Return a row per line; every further column with a number in it is a metric."""
    rows: list[Row] = []
    notes: list[str] = []
    for number, line in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        where = f"{path}, line {number}"
        if not line.get("dataset") or None in line or None in line.values():
            notes.append(f"{where}: not as many cells as columns, or no data set; the line was skipped.")
            continue
        metrics = {name: _number(cell) for name, cell in line.items() if name not in (*FIELDS, *OWN_FIELDS, _NAME)}
        try:
            row, found = row_of(line, metrics, where)
        except ValueError as error:
            notes.append(f"{where}: {error}; the line was skipped.")
            continue
        notes += found
        rows += [row] if row["metrics"] else []
    return rows, notes


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def write(rows: Sequence[Row], target: Path) -> list[str]:
    """Write the table with its columns in one order: fields, then metrics by name."""
    lines: list[dict[str, Any]] = []
    names: set[str] = set()
    for row in rows:
        record, metrics = record_of(row)
        lines.append({**record, **metrics, _NAME: f"{record['model']} {record['pretrained']}".strip()})
        names |= metrics.keys()
    own = [field for field in OWN_FIELDS if any(field in line for line in lines)]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, [*FIELDS, _NAME, *own, *sorted(names)], restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    write_text(target, text.getvalue())
    return []
