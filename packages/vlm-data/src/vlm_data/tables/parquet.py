"""Parquet files that say what kind of table they hold, in which version, and where it comes from."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_data.errors import VlmDataError
from vlm_data.files import replacing

Table = TypeVar("Table")


def write_table(
    path: str | os.PathLike[str], kind: str, version: str, columns: Mapping[str, pa.Array], meta: Mapping[str, str]
) -> None:
    """Write a parquet file atomically; equal columns and meta give equal bytes, whatever the order of meta.

    Args:
        path: of the file.
        kind: what the rows are, for example `predictions`.
        version: of the columns of this kind.
        columns: in the order of the file.
        meta: strings that say where the table comes from.
    """
    header = {"vlm_table": kind, "schema_version": version, "meta": json.dumps(dict(meta), sort_keys=True)}
    table = pa.table(dict(columns)).replace_schema_metadata(header)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_table(
    path: str | os.PathLike[str], kind: str, version: str, build: Callable[[pa.Table, dict[str, str]], Table]
) -> Table:
    """Read what `write_table` wrote and make `build(columns, meta)` of it.

    Raises:
        VlmDataError: if the file is missing, damaged, not parquet, of another kind or version, or `build` fails.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise VlmDataError(f"cannot read {kind} from {path}: {error}. Expected a parquet file written by a run.") from (
            error
        )
    header = {k.decode(errors="replace"): v.decode(errors="replace") for k, v in (table.schema.metadata or {}).items()}
    if header.get("vlm_table") != kind:
        raise VlmDataError(f"{Path(path)} is parquet, but not a table of {kind} written by a run.")
    if header.get("schema_version") != version:
        raise VlmDataError(
            f"{Path(path)} has {kind} of schema version {header.get('schema_version')}; this version reads "
            f"{version}. Read it with the version that wrote it, or make the {kind} again."
        )
    try:
        return build(table, json.loads(header["meta"]))
    except VlmDataError as error:  # what is wrong with a table does not tell which file it is in
        raise VlmDataError(f"{Path(path)}: {error}") from error
    except (LookupError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        raise VlmDataError(
            f"{Path(path)} says that it holds {kind}, but it does not: {error}. "
            f"It is damaged or was written by something else; make the {kind} again."
        ) from error
