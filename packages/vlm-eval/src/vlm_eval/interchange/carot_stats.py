"""`stats.tsv` of CaRot and FLYP: one line per evaluation, `<Dataset> Accuracy` and `<Dataset> ECE` columns."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from vlm_data.errors import CallError, VlmError, listing
from vlm_data.files import write_text
from vlm_eval.foreign_names import WISE_FT, Place, group_of, ours, role_of, theirs
from vlm_eval.published_scores import METRICS, run_scores
from vlm_eval.rows import Row
from vlm_finetune.run import open_run

SUMMARY = "stats.tsv of CaRot and FLYP"
ECE = METRICS[1]
"""Their calibration error is that of batches, so it is not read as `ece`, which is that of the whole set."""
_KINDS = {" Accuracy": "accuracy", " ECE": ECE}
_LOSS, _AVERAGES = ("Avg ID ", " Loss"), {"Avg OOD Acc": "accuracy", "Avg OOD ECE": ECE}
Lines = dict[float, dict[Place, dict[str, float]]]
"""Metrics by alpha and data set."""


def recognises(text: str) -> bool:
    r"""Return whether the first line is a header of that file.

    Example:
        >>> recognises("\tepoch\tImageNet Accuracy\tImageNet ECE\n"), recognises("epoch,ImageNet Accuracy")
        (True, False)
    """
    header = text.split("\n", 1)[0].rstrip("\r").split("\t")
    return len(header) > 1 and any(name.endswith(tuple(_KINDS)) for name in header)


def read(path: Path, text: str) -> tuple[list[Row], list[str]]:
    """Return one row per data set and line; missing cells are missing scores.

    The run is the folder of the file; lines before the last one have their epoch behind it, or they would pass for
    repetitions of it. Epoch 0 without a training loss is the zero-shot model. Printed averages are checked, not read:
    one of these programs divides by N + 0.5.
    """
    lines = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    rows: list[Row] = []
    notes: list[str] = []
    for number, line in enumerate(lines, start=2):
        scores = _scores(line, f"{path}, line {number}", notes)
        if not scores:
            notes.append(f"{path}, line {number}: no score in it; the line was skipped.")
            continue
        run = path.parent.as_posix() if path.parent.name else path.absolute().parent.name
        is_last = number == len(lines) + 1
        rows += _rows(line, scores, run if is_last else f"{run} epoch {line.get('epoch') or number - 2}")
        notes += _wrong_averages(line, scores, f"{path}, line {number}")
    return rows, notes


def _scores(line: Mapping[str, str | None], where: str, notes: list[str]) -> dict[str, dict[str, float]]:
    scores: dict[str, dict[str, float]] = {}
    for column, cell in line.items():
        kind = next((kind for kind in _KINDS if column and column.endswith(kind)), None)
        if kind is None or column.startswith("Avg ") or not cell or not cell.strip():
            continue
        value = _number(cell)
        if value is None or not 0 <= value <= 1:
            if cell.strip().lower() != "nan":
                notes.append(f"{where}: {column} is {cell!r}; expected a fraction. It was left out.")
            continue
        scores.setdefault(column.removesuffix(kind), {})[_KINDS[kind]] = value
    return scores


def _rows(line: Mapping[str, str | None], scores: Mapping[str, dict[str, float]], run: str) -> list[Row]:
    losses = {
        name: cell for name, cell in line.items() if name and name.startswith(_LOSS[0]) and name.endswith(_LOSS[1])
    }
    trained = any(_number(cell or "") is not None for cell in losses.values())
    is_start = _number(line.get("epoch") or "") == 0 and not trained
    method = next(iter(losses), "").removeprefix(_LOSS[0]).removesuffix(_LOSS[1]).lower()
    places = {name: ours(name, WISE_FT) for name in scores}
    reference = "imagenet" if "ImageNet" in scores else None
    return [
        {
            "model": "zero-shot" if is_start else "fine-tuned",
            "run": run,
            "method": method if method in ("carot", "flyp") else None,
            "alpha": 0.0 if is_start else 1.0,
            "data": data,
            "split": split,
            "role": (role := role_of(data, reference)),
            "group": group_of(data, role),
            "severity": None,
            "n": None,
            "metrics": dict(scores[name]),
            "intervals": {},
            "hashes": {},
        }
        for name, (data, split) in places.items()
    ]


def _wrong_averages(line: Mapping[str, str | None], scores: Mapping[str, dict[str, float]], where: str) -> list[str]:
    found = []
    for column, metric in _AVERAGES.items():
        printed = _number(line.get(column) or "")
        shifts = [values[metric] for name, values in scores.items() if name != "ImageNet" and metric in values]
        if printed is None or not shifts or "ImageNet" not in scores:
            continue
        mean = math.fsum(shifts) / len(shifts)
        if abs(mean - printed) > 2e-4:
            known = abs(mean * len(shifts) / (len(shifts) + 0.5) - printed) < 2e-4
            why = f", as the program divides by {len(shifts) + 0.5:g}" if known else ""
            found.append(f"{where}: {column} is {printed:.4f}, but the mean of its columns is {mean:.4f}{why}.")
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def write(rows: Sequence[Row], target: Path) -> list[str]:
    """Write the zero-shot and the fine-tuned model of one run, with averages over the shifts that are there.

    Calibration that the rows do not have is computed from the predictions of the run; without them its cells are empty.

    Raises:
        CallError: if the rows are of several runs, or none of them is of an end of an interpolation.
    """
    ends = [row for row in rows if row["alpha"] in (None, 0.0, 1.0) and _has_name(row)]
    runs = list(dict.fromkeys(row["run"] or row["model"] for row in ends))
    if len(runs) != 1:
        raise CallError(
            f"the rows are of {len(runs)} runs ({listing(runs)}); expected one, a stats.tsv holds no more. "
            "Choose it with --run or --model."
        )
    lines: Lines = {}
    for row in ends:
        line = lines.setdefault(1.0 if row["alpha"] is None else row["alpha"], {})
        line[row["data"], row["split"]] = dict(row["metrics"])
    notes = _complete(lines, runs[0])
    roles = {(row["data"], row["split"]): row["role"] for row in ends}
    text = "".join("\t".join(line) + "\n" for line in _table(lines, roles, _epoch(runs[0])))
    write_text(target, text)
    left_out = len(rows) - len(ends)
    return [*notes, *([f"{left_out} rows of interpolated models and of validation were left out"] if left_out else [])]


def _has_name(row: Row) -> bool:
    """Return whether the programs have a name for it: of validation splits only for their own data sets."""
    return row["split"] == "test" or (row["data"], row["split"]) in WISE_FT


def _table(lines: Lines, roles: Mapping[Place, str], epoch: str) -> list[list[str]]:
    """Return header and lines, ID data first; averages are over test sets that are shifts."""
    places = sorted(roles, key=lambda place: roles[place] == "shift")
    shifts = [place for place in places if roles[place] == "shift"]
    averages = _AVERAGES if shifts else {}
    columns = [f"{theirs(place, WISE_FT)}{kind}" for place in places for kind in _KINDS]
    table = [["", "epoch", *columns, *averages]]
    for number, (alpha, scores) in enumerate(sorted(lines.items())):
        cells = [scores.get(place, {}).get(metric) for place in places for metric in _KINDS.values()]
        means = [_mean([scores.get(place, {}).get(metric) for place in shifts]) for metric in averages.values()]
        table.append([str(number), "0" if alpha == 0 else epoch, *map(_cell, [*cells, *means])])
    return table


def _complete(lines: Lines, run: str) -> list[str]:
    """Add the calibration error of batches where it is missing; tell where it stays missing."""
    if all(ECE in metrics for scores in lines.values() for metrics in scores.values()):
        return []
    try:
        measured = run_scores(open_run(run), set(lines))
    except VlmError:
        return [f"cells of ECE are empty: it is that of batches, and {run} has no predictions to compute it from"]
    for row in measured:
        metrics = lines.get(row["alpha"] or 0.0, {}).get((row["data"], row["split"]))
        if metrics is not None:
            metrics.setdefault(ECE, row["metrics"][ECE])
    return []


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _epoch(run: str) -> str:
    """Return the epoch that was kept, as the model of the run says; nothing where it does not."""
    try:
        epoch = json.loads((Path(run) / "model.json").read_text(encoding="utf-8"))["epoch"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return str(epoch)
