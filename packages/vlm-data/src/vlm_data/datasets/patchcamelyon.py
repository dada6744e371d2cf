"""PatchCamelyon, prepared as class folders: `patchcamelyon`."""

from pathlib import Path

from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.prepared import Folders, folders_benchmark, split_folders
from vlm_data.published import data_root, require_folder

INFO = DatasetInfo(
    summary="patches of lymph-node sections, with or without metastatic tumor tissue",
    spec="patchcamelyon",
    layout="""\
patchcamelyon/train/0/*   patchcamelyon/train/1/*   and likewise val and test
0 is "lymph node", 1 "lymph node containing metastatic tumor tissue"; folders may also be called so.
Below --data-root. The HDF5 files of the authors are not read: write their arrays as PNG files into such folders
(the published programs write JPEG, which changes the pixels).""",
)
NAME = "patchcamelyon"


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the class folders; no image is opened.

    Raises:
        DataLayoutError: if the data is not there, or not laid out as `INFO.layout` says.
    """
    folder = require_folder(NAME, data_root(NAME, source, root), ("patchcamelyon", "pcam"))
    classes = Folders(asset_lines("patchcamelyon/class_names.txt"), ("0", "1"))
    return folders_benchmark(NAME, split_folders(folder), classes, seed)
