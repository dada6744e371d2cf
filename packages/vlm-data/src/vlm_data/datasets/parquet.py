"""Tables of images in parquet: `parquet:FILE`."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.errors import DataLayoutError
from vlm_data.file_benchmark import source_path
from vlm_data.image_table import image_table
from vlm_data.table_benchmark import existing_table, table_benchmark
from vlm_data.table_columns import TABLE_LAYOUT, column_roles

INFO = DatasetInfo(
    summary="your own images, listed in a parquet file",
    spec="parquet:FILE",
    layout="FILE holds paths of images, not the images; a caption may be a list of texts.\n" + TABLE_LAYOUT,
)


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the table; no image is opened.

    Raises:
        DataLayoutError: if the file is missing or not laid out as `INFO.layout` says.
    """
    path = existing_table(source_path("parquet", source, root))
    return table_benchmark(image_table(_read(path), path), path, root, seed)


def _read(path: Path) -> pa.Table:
    try:
        names = pyarrow.parquet.read_schema(path).names
        return pyarrow.parquet.read_table(path, columns=list(column_roles(names, path).values()))
    except (OSError, pa.ArrowException) as error:
        raise DataLayoutError(
            f"cannot read {path} as parquet: {error}. Expected a whole parquet file. Write or download it again."
        ) from error
