"""The runs of a sweep as a list in a file: one table (TOML) or row (CSV) of settings for each."""

import csv
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm_data.errors import CallError, DataLayoutError, listing

NAME = "name"
"""Key or column of the name that a row gives its runs; a row without one is named by its settings."""

Setting = tuple[str, str]
"""`TABLE.KEY` and its value, as it is written after `--set TABLE.KEY=`."""

_SETTING = re.compile(r"\w+\.\w+")
_TABLE = "point"
_EXAMPLES = {
    ".toml": "tables [[point]] with lines such as training.lr = 1e-3",
    ".csv": "a header such as method.name,training.lr and one row for each run",
}


class _Number(str):
    """A number of a TOML file as it is written: 1e-3 shall not become 0.001 in the name of a run."""


def read_points(path: str | os.PathLike[str]) -> list[tuple[Setting, ...]]:
    r"""Read the settings of every row of a list; `name` among them names the row.

    Args:
        path: `.toml` with `[[point]]` tables, or `.csv` with a column for each `TABLE.KEY`; an empty cell says nothing.

    Raises:
        DataLayoutError: if it cannot be read, is neither kind of file, or a row is not as expected.
        CallError: if it has no row, or one twice.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "points.toml"
        >>> _ = path.write_text('[[point]]\ntraining.lr = 1e-3\n[[point]]\nname = "long"\ntraining = {epochs = 20}')
        >>> read_points(path)
        [(('training.lr', '1e-3'),), (('name', 'long'), ('training.epochs', '20'))]
    """
    file = Path(path)
    readers = {".toml": _toml_rows, ".csv": _csv_rows}
    if file.suffix.lower() not in readers:
        raise CallError(f"{file} is no list of runs; expected a file that ends in {' or '.join(readers)}.")
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataLayoutError(f"cannot read {file}: {error}. Expected a text file. Save it as UTF-8.") from error
    rows = [tuple(row) for row in readers[file.suffix.lower()](text, file)]
    if not rows:
        raise CallError(f"{file} lists no run; expected {_EXAMPLES[file.suffix.lower()]}.")
    _check(rows, file)
    return rows


def _check(rows: Sequence[tuple[Setting, ...]], file: Path) -> None:
    contents = [sorted(setting for setting in row if setting[0] != NAME) for row in rows]
    for number, content in enumerate(contents, start=1):
        if not content:
            raise CallError(f"{file}, point {number}, sets nothing; expected at least one TABLE.KEY with a value.")
        if content in contents[: number - 1]:
            first = contents.index(content) + 1
            raise CallError(f"{file} lists one point twice, as number {first} and {number}; expected it once.")


def _toml_rows(text: str, file: Path) -> Iterator[list[Setting]]:
    try:
        content = tomllib.loads(text, parse_float=_Number)
    except tomllib.TOMLDecodeError as error:
        raise DataLayoutError(f"cannot read {file}: {error}. Expected {_EXAMPLES['.toml']}.") from error
    points = content.get(_TABLE, [])
    if content.keys() - {_TABLE} or not isinstance(points, list):
        raise DataLayoutError(f"{file} holds {listing(list(content))}. Expected nothing but {_EXAMPLES['.toml']}.")
    for number, point in enumerate(points, start=1):
        row: list[Setting] = []
        for table, keys in point.items() if isinstance(point, Mapping) else ((point, None),):
            if table == NAME and isinstance(keys, str):
                row.append((NAME, keys))
            elif isinstance(keys, Mapping):
                row += [(f"{table}.{key}", _as_written(value)) for key, value in keys.items()]
            else:
                raise DataLayoutError(
                    f"{file}, point {number}: {table!r} is no setting. Expected {_EXAMPLES['.toml']}, and name = "
                    "'...' where you want a name of your own."
                )
        yield row


def _as_written(value: Any) -> str:
    """Return a TOML value as `--set` reads it back; text that could be read as something else gets quotes."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(json.dumps(item) if type(item) is str else _as_written(item) for item in value)}]"
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    try:
        tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return json.dumps(value)


def _csv_rows(text: str, file: Path) -> Iterator[list[Setting]]:
    try:
        lines = [(number, line) for number, line in enumerate(csv.reader(text.splitlines(), strict=True), 1) if line]
    except csv.Error as error:
        raise DataLayoutError(f"cannot read {file}: {error}. Expected {_EXAMPLES['.csv']}.") from error
    header = [cell.strip() for cell in lines[0][1]] if lines else []
    wrong = [column for column in header if column != NAME and not _SETTING.fullmatch(column)]
    twice = sorted({column for column in header if header.count(column) > 1})
    if wrong or twice:
        fault = f"columns that are no settings: {listing(wrong)}" if wrong else f"columns twice: {listing(twice)}"
        raise DataLayoutError(
            f"{file} has {fault}. Expected one column for each TABLE.KEY, such as training.lr, with commas between "
            f"them, and {NAME} where you want names of your own."
        )
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise DataLayoutError(
                f"{file}, line {number}, has {len(line)} cells for {len(header)} columns. Expected as many; a value "
                'with commas stands in quotes, such as "[0.0,1.0]".'
            )
        yield [(column, cell.strip()) for column, cell in zip(header, line, strict=True) if cell.strip()]
