"""Results of CLIP_benchmark as it writes them: one JSON object per model and data set, one file each."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from vlm_data.errors import CallError
from vlm_data.files import write_text
from vlm_data.table_facts import file_stem
from vlm_eval.foreign_names import CLIP_BENCHMARK, group_of, ours, role_of, theirs
from vlm_eval.rows import Row

SUMMARY = "JSON file of CLIP_benchmark"
FIELDS = ("dataset", "model", "pretrained", "task", "language")
OWN_FIELDS = ("run", "method", "alpha", "split", "role", "group", "n")
"""What rows say beyond that program's fields; it takes further keys along, into its CSV, too."""
_SETTINGS = ("weight_decay", "epochs", "seed", "fewshot_k", "normalized")
"""What it puts among the metrics of a linear probe, and is none."""
_METRICS = {"acc1": "accuracy", "lp_acc1": "accuracy", "lp_mean_per_class_recall": "mean_per_class_recall"}
_SHARES = ("accuracy", "acc5", "mean_per_class_recall")
_MODELS = ("zero-shot", "fine-tuned", "interpolated")


def recognises(text: str) -> bool:
    """Return whether the text is one JSON object with a data set and its metrics.

    Example:
        >>> recognises('{"dataset": "cars", "model": "ViT-B-32", "pretrained": "openai", "metrics": {"acc1": NaN}}')
        True
    """
    try:
        record = json.loads(text)
    except ValueError:
        return False
    return isinstance(record, dict) and "dataset" in record and isinstance(record.get("metrics"), dict)


def read(path: Path, text: str) -> tuple[list[Row], list[str]]:
    """Return the row of a file; numbers that are NaN (acc5 of fewer than five classes) are left out and told."""
    record = json.loads(text)
    try:
        row, notes = row_of(record, record["metrics"], str(path))
    except (TypeError, ValueError) as error:
        return [], [f"{path}: {error}."]
    return ([row] if row["metrics"] else []), notes


def row_of(record: Mapping[str, Any], metrics: Mapping[str, Any], where: str) -> tuple[Row, list[str]]:
    """Return the row of one result of that program and what of it could not be read.

    Args:
        record: its fields; what is missing takes the program's default.
        metrics: by its names; only finite numbers count.
        where: file and line for messages.
    """
    values: dict[str, float] = {}
    notes: list[str] = []
    for name, value in metrics.items():
        if name in _SETTINGS or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        called = _METRICS.get(name, name)
        if math.isfinite(value) and (called not in _SHARES or 0 <= value <= 1):
            values[called] = float(value)
        else:
            expected = "a fraction" if called in _SHARES else "a finite number"
            notes.append(f"{where}: {name} is {value}; expected {expected}. It was left out.")
    name = str(record["dataset"]).removeprefix("wds/")
    data, split = ours(name, CLIP_BENCHMARK)
    own = {key: None if record.get(key) in (None, "") else str(record[key]) for key in OWN_FIELDS}
    role = own["role"] if own["role"] in ("id", "shift") else role_of(data)
    row: Row = {
        "model": _model(record),
        "run": own["run"],
        "method": own["method"] or ("linear-probe" if record.get("task") == "linear_probe" else None),
        "alpha": None if own["alpha"] is None else float(own["alpha"]),
        "data": data,
        "split": own["split"] or split,
        "role": cast(Literal["id", "shift"], role),
        "group": own["group"] or group_of(data, role),
        "severity": None,
        "n": None if own["n"] is None else int(own["n"]),
        "metrics": values,
        "intervals": {},
        "hashes": {},
    }
    return row, notes


def _model(record: Mapping[str, Any]) -> str:
    model, pretrained = str(record.get("model") or ""), str(record.get("pretrained") or "")
    if model in _MODELS or not pretrained:
        return model
    return f"openclip:{model}/{pretrained}"


def record_of(row: Row) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the fields and the metrics of a row, by the program's names."""
    family, colon, source = row["model"].partition(":")
    model, _, tag = source.partition("/") if colon and family == "openclip" else (row["model"], "", "")
    record: dict[str, Any] = {
        "dataset": theirs((row["data"], row["split"]), CLIP_BENCHMARK),
        "model": model,
        "pretrained": tag,
        "task": "linear_probe" if (row["method"] or "").startswith("linear-probe") else "zeroshot_classification",
        "language": "en",
    }
    record |= {key: value for key in OWN_FIELDS if (value := row.get(key)) not in (None, "")}
    return record, {"acc1" if name == "accuracy" else name: value for name, value in row["metrics"].items()}


def write(rows: Sequence[Row], target: Path) -> list[str]:
    """Write one file per row into a folder, called as the program's documentation suggests.

    Raises:
        CallError: if the folder is a file.
    """
    if target.exists() and not target.is_dir():
        raise CallError(
            f"{target} is a file; expected a folder, this format has a file per score. Choose another name."
        )
    texts: dict[str, str] = {}
    for row in rows:
        record, metrics = record_of(row)
        words = [record["dataset"], record["pretrained"], record["model"], record.get("run", ""), row["split"]]
        words += [] if row["alpha"] is None else [f"alpha{row['alpha']:g}"]
        stem = "_".join(file_stem(str(word)) for word in [*words, record["language"], record["task"]] if word)
        while stem in texts:
            stem += "_again"
        texts[stem] = json.dumps({**record, "metrics": metrics}, allow_nan=False) + "\n"
    target.mkdir(parents=True, exist_ok=True)
    for stem, text in texts.items():
        write_text(target / f"{stem}.json", text)
    return []
