"""Tables of images with one JSON object per line: `jsonl:FILE`."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.json

from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.errors import DataLayoutError
from vlm_data.file_benchmark import source_path
from vlm_data.image_table import image_table
from vlm_data.table_benchmark import existing_table, table_benchmark
from vlm_data.table_columns import TABLE_LAYOUT

INFO = DatasetInfo(
    summary="your own images, listed in a JSON Lines file",
    spec="jsonl:FILE",
    layout="FILE has one JSON object per line; a caption may be a list of texts.\n"
    + TABLE_LAYOUT.replace("column ", "key    "),
)


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the table; no image is opened.

    Raises:
        DataLayoutError: if the file is missing or not laid out as `INFO.layout` says.
    """
    path = existing_table(source_path("jsonl", source, root))
    return table_benchmark(image_table(_read(path), path), path, root, seed)


def _read(path: Path) -> pa.Table:
    try:
        return pyarrow.json.read_json(path)
    except (OSError, pa.ArrowException) as error:
        raise DataLayoutError(
            f"cannot read {path} as JSON Lines: {_first_fault(path) or error}. "
            "Expected one object per line, with values of one kind per key. Correct the file."
        ) from error


def _first_fault(path: Path) -> str:
    """Return what is wrong with the first bad line; the fast reader counts lines within its blocks only."""
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                value = json.loads(line) if line.strip() else {}
            except json.JSONDecodeError as error:
                return f"line {number}: {error.msg} at character {error.pos + 1}"
            if not isinstance(value, dict):
                return f"line {number} is not an object but {type(value).__name__}"
    return ""
