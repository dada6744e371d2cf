"""Comma-, semicolon- or TAB-separated tables of images: `csv:FILE`."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.errors import DataLayoutError
from vlm_data.file_benchmark import source_path
from vlm_data.image_table import image_table
from vlm_data.table_benchmark import existing_table, table_benchmark
from vlm_data.table_columns import ALIASES, TABLE_LAYOUT, column_roles

SEPARATORS = ("\t", ",", ";")

INFO = DatasetInfo(
    summary="your own images, listed in a CSV or TSV file",
    spec="csv:FILE",
    layout="FILE has a header line and is separated by TAB, comma or semicolon.\n" + TABLE_LAYOUT,
)


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the table; no image is opened.

    Raises:
        DataLayoutError: if the file is missing or not laid out as `INFO.layout` says.
    """
    path = existing_table(source_path("csv", source, root))
    return table_benchmark(image_table(_read(path), path), path, root, seed)


def _read(path: Path) -> pa.Table:
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            separator, names = _header(lines.readline())
        used = list(column_roles(names, path).values())
        return pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=used,
                column_types=dict.fromkeys(used, pa.string()),  # a class may be called 007 or true
            ),
        )
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DataLayoutError(
            f"cannot read {path} as a table: {error}. "
            "Expected UTF-8 text with a header line and as many cells in every line. Correct the file."
        ) from error


def _header(line: str) -> tuple[str, list[str]]:
    """Return the separator that lets the header name most of the columns we know, and the column names."""
    known = {alias for aliases in ALIASES.values() for alias in aliases}
    headers = [(separator, next(csv.reader([line], delimiter=separator), [])) for separator in SEPARATORS]
    return max(headers, key=lambda header: (sum(name.strip().lower() in known for name in header[1]), len(header[1])))
