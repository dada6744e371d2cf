"""The results database: rows in an append-only JSON Lines file that several writers and a crash cannot spoil."""

import datetime
import fnmatch
import json
import math
import os
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from vlm_data.errors import CallError, VlmDataError, VlmError
from vlm_eval.rows import Row, row_key
from vlm_eval.wise_results import is_wise_line, wise_rows

SCHEMA = 1

_LOCK_TIMEOUT = 60.0  # seconds; a writer holds the lock for one write and one fsync


def append(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Add rows to the end of a results database, which is created if it is not there.

    Each row becomes one line: the row itself, `schema`, `written` (UTC), `version` of this package, and its metrics
    once more under the keys of the WiSE-FT program (`<data>:top1` for accuracy). Writers take turns through a lock
    file beside the database; all rows go out in one write to a file opened for appending and are on disk when the call
    returns. If the last line was cut by a crash, the new ones start on a line of their own. If the disk is full the
    database stays as it was.

    Raises:
        CallError: if a row lacks a key.
        VlmError: if a metric is NaN or infinite, the file cannot be written, or another process holds the lock for
            more than a minute.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "results.jsonl"
        >>> append(path, [{"model": "tiny", "run": None, "method": None, "alpha": None, "data": "digits",
        ...     "split": "test", "role": "id", "group": "", "severity": None, "n": 600,
        ...     "metrics": {"accuracy": 0.75}, "intervals": {}, "hashes": {}}])
        >>> rows, problems = read(path)
        >>> rows[0]["metrics"], problems
        ({'accuracy': 0.75}, [])
    """
    if not rows:
        return
    target = Path(path)
    data = "".join(_line(row) + "\n" for row in rows).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=_LOCK_TIMEOUT):
            _write_at_end(target, data)
    except Timeout as error:
        raise VlmError(
            f"cannot write {target}: another process has held {error.lock_file} for {_LOCK_TIMEOUT:.0f} seconds. "
            "Expected writers to take turns within milliseconds; see what that process is doing, then try again."
        ) from error
    except OSError as error:
        raise VlmError(
            f"cannot write {target}: {error.strerror or error}. The rows in it are unharmed, the {len(rows)} new ones "
            "are not in it. Free some space or choose a writable place."
        ) from error


def _write_at_end(target: Path, data: bytes) -> None:
    handle = os.open(target, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            data = b"\n" + data
        try:
            written = os.write(handle, data)
            if written < len(data):
                raise OSError(f"only {written} of {len(data)} bytes fitted on the disk")
        except OSError:
            os.ftruncate(handle, size)  # under the lock, so nobody else's line is lost
            raise
        os.fsync(handle)
    finally:
        os.close(handle)


def _line(row: Row) -> str:
    missing = sorted(Row.__required_keys__ - row.keys())
    if missing:
        raise CallError(f"a row of results lacks {', '.join(missing)}; expected the rows that vlm_eval.scores makes.")
    numbers = [*row["metrics"].items(), *((name, end) for name, ends in row["intervals"].items() for end in ends)]
    for name, value in numbers:
        if not math.isfinite(value):
            raise VlmError(
                f"{name} of {row['model']} on {row['data']} is {value}, which JSON cannot hold. "
                "Expected a finite number; look at the predictions behind it."
            )
    wise = {f"{row['data']}:{'top1' if name == 'accuracy' else name}": value for name, value in row["metrics"].items()}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return json.dumps(
        {"schema": SCHEMA, "version": version("vlm-eval"), **row, "written": now, **wise},
        allow_nan=False,
        ensure_ascii=False,
    )


def read(path: str | os.PathLike[str]) -> tuple[list[Row], list[str]]:
    """Return all rows of a results database in the order they were written, and what could not be read.

    Lines of the WiSE-FT program are read too, see `vlm_eval.wise_results`. A line that is cut, damaged or of a newer
    schema is skipped; the second list tells the file, the line and the reason.

    Raises:
        VlmDataError: if the file is missing or cannot be opened.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise VlmDataError(
            f"cannot read the results database {path}: {error.strerror or error}. "
            "Expected a JSON Lines file written by a run; `vlm evaluate` writes one."
        ) from error
    rows: list[Row] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.extend(_rows_of_line(line))
        except ValueError as error:
            shown = line[:40].decode(errors="replace")
            problems.append(
                f"{path}, line {number} ({len(line)} bytes, starts {shown!r}): {error}; the line was skipped."
            )
    return rows, problems


def _rows_of_line(line: bytes) -> list[Row]:
    try:
        record: Any = json.loads(line)
    except ValueError as error:  # also when the bytes are no UTF-8
        raise ValueError("not a whole JSON object, as a crash while writing leaves it") from error
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, found {type(record).__name__}")
    if "schema" not in record:
        if is_wise_line(record):
            return wise_rows(record)
        raise ValueError("neither a row of results nor a line of the WiSE-FT program")
    if record["schema"] != SCHEMA:
        raise ValueError(f"schema {record['schema']!r}, this version reads {SCHEMA}; update vlm-eval")
    missing = sorted(Row.__required_keys__ - record.keys())
    if missing:
        raise ValueError(f"the row lacks {', '.join(missing)}")
    known = Row.__required_keys__ | Row.__optional_keys__
    return [cast(Row, {key: value for key, value in record.items() if key in known})]


def latest(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without those that were measured again later, in the order of first appearance.

    Two rows are the same measurement if run, model, data, split, alpha and severity agree, see
    `vlm_eval.rows.row_key`: a run that was started again writes its rows again. A row of a program that does not tell
    the number of samples is the same measurement as one that agrees in all else and tells it; that one is returned.
    """
    kept = {row_key(row): row for row in rows}
    told = {key[:-1] for key, row in kept.items() if row["n"] is not None}
    return [row for key, row in kept.items() if row["n"] is not None or key[:-1] not in told]


def select(
    rows: Iterable[Row],
    *,
    model: str | None = None,
    run: str | None = None,
    method: str | None = None,
    data: str | None = None,
    split: str | None = None,
    role: str | None = None,
    group: str | None = None,
    alpha: float | None = None,
) -> list[Row]:
    """Return the rows that fit all that is given; None fits everything.

    Args:
        rows: rows, for example of `read`.
        model: exact text or a pattern with `*` and `?`.
        run: likewise.
        method: likewise.
        data: likewise.
        split: likewise.
        role: likewise.
        group: likewise.
        alpha: weight of the fine-tuned model, compared to six digits.

    Example:
        >>> rows = [{"data": "digits", "alpha": 0.5}, {"data": "digits/invert", "alpha": 0.5}]
        >>> [row["data"] for row in select(rows, data="digits/*", alpha=0.5)]
        ['digits/invert']
    """
    patterns = {
        "model": model, "run": run, "method": method, "data": data, "split": split, "role": role, "group": group,
    }  # fmt: skip
    wanted = {key: pattern for key, pattern in patterns.items() if pattern is not None}

    def fits(row: Row) -> bool:
        if alpha is not None and (row["alpha"] is None or abs(row["alpha"] - alpha) > 5e-7):
            return False
        return all(fnmatch.fnmatchcase(str(row.get(key) or ""), pattern) for key, pattern in wanted.items())

    return [row for row in rows if fits(row)]
