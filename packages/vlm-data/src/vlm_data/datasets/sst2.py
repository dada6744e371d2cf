"""Rendered SST2: sentences of film reviews as pictures of text: `sst2`."""

from pathlib import Path

from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.prepared import Folders, folders_benchmark, split_folders
from vlm_data.published import data_root, require_folder

INFO = DatasetInfo(
    summary="film reviews rendered as pictures of text, negative or positive",
    spec="sst2",
    layout="""\
sst2/train/negative/*.png   sst2/train/positive/*.png   and likewise val (or valid) and test
Below --data-root; the folder may be called rendered-sst2, as torchvision unpacks it.""",
)
NAME = "sst2"


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the class folders; no image is opened.

    Raises:
        DataLayoutError: if the data is not there, or not laid out as `INFO.layout` says.
    """
    folder = require_folder(NAME, data_root(NAME, source, root), ("sst2", "rendered-sst2"))
    return folders_benchmark(
        NAME, split_folders(folder), Folders(asset_lines("sst2/class_names.txt"), ("0", "1")), seed
    )
