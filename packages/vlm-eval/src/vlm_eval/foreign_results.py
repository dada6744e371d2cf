"""Results of other programs into rows, and rows into their files."""

import csv
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from vlm_data.errors import CallError, VlmDataError, listing
from vlm_data.registry import Registry
from vlm_eval.results import latest
from vlm_eval.rows import Row

FORMATS = Registry("vlm_eval.interchange", "format of results")


@dataclasses.dataclass(frozen=True)
class Imported:
    """What a file held.

    Attributes:
        format: name of its format.
        rows: its scores.
        notes: what could not be read or is wrong in it, one sentence each.
    """

    format: str
    rows: list[Row]
    notes: list[str]


def format_summaries() -> dict[str, str]:
    """Return what each format is, by name.

    Example:
        >>> sorted(format_summaries())
        ['carot-stats', 'clip-benchmark', 'clip-benchmark-csv', 'wise-ft']
    """
    return {name: FORMATS.load(name).SUMMARY for name in FORMATS.names()}


def import_results(path: str | os.PathLike[str]) -> Imported:
    """Read a result file of another program; its content tells the format.

    Data sets that have a name here get it, others keep theirs. What a format does not tell is None or empty.

    Raises:
        VlmDataError: if the file cannot be read, is of no known format, or holds no score.
    """
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise VlmDataError(f"cannot read results from {place}: {reason}. Expected a file of {_known()}.") from error
    try:
        name = next((name for name in FORMATS.names() if FORMATS.load(name).recognises(text)), None)
        rows, notes = FORMATS.load(name).read(place, text) if name else ([], [])
    except csv.Error as error:
        raise VlmDataError(f"cannot read results from {place}: {error}. Expected a file of {_known()}.") from error
    if name is None:
        raise VlmDataError(
            f"{place} holds no results that can be read: it begins with {text[:40]!r}. Expected a file of {_known()}."
        )
    if not rows:
        reason = f" {notes[0]}" if notes else ""
        raise VlmDataError(f"{place} looks like {name}, but there is no score in it.{reason}")
    return Imported(name, rows, notes)


def export_results(rows: Sequence[Row], name: str, target: str | os.PathLike[str]) -> list[str]:
    """Write rows as another program does, whole or not at all.

    Args:
        rows: scores; of a measurement that is there twice the later one counts.
        name: format, see `format_summaries`.
        target: file, or folder for a format of one file per score; replaced if it is there.

    Returns:
        What the format cannot hold and was left out, one sentence each.

    Raises:
        CallError: if there is no such format, or no row that it can hold.
        VlmError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> row = {"model": "fine-tuned", "run": "runs/a", "method": "full", "alpha": 1.0, "data": "imagenet/v2",
        ...     "split": "test", "role": "shift", "group": "natural", "severity": None, "n": 10000,
        ...     "metrics": {"accuracy": 0.7}, "intervals": {}, "hashes": {}}
        >>> path = tempfile.mkdtemp() + "/sweep.jsonl"
        >>> export_results([row], "wise-ft", path)
        []
        >>> [(row["data"], row["metrics"]) for row in import_results(path).rows]
        [('imagenet/v2', {'accuracy': 0.7})]
    """
    written = FORMATS.load(name)
    means = [row for row in latest(rows) if row["severity"] is None]
    severities = sum(row["severity"] is not None for row in rows)
    notes = [f"{severities} rows of single severities were left out; their means are there"] if severities else []
    if not means:
        raise CallError(f"there is no row to write as {name}. Expected scores; choose others with the filters.")
    return [*notes, *written.write(means, Path(target))]


def _known() -> str:
    return listing([f"{name}: {summary}" for name, summary in format_summaries().items()]).replace("'", "")
