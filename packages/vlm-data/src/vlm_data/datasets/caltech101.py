"""Caltech101 as its authors hand it out, or prepared as class folders of splits: `caltech101`."""

from pathlib import Path

from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.prepared import Folders, folders_benchmark, split_folders
from vlm_data.published import data_root, require_folder

INFO = DatasetInfo(
    summary="photographs and drawings of 101 kinds of objects; the background class is left out",
    spec="caltech101",
    layout="""\
caltech-101/101_ObjectCategories/CLASS/*.jpg   60/20/20 per class are drawn with the seed
caltech-101/train/CLASS/*.jpg                  instead: prepared splits, with val and test likewise
Below --data-root; the folder may also be called caltech101.""",
)
NAME = "caltech101"
BACKGROUND = ("BACKGROUND_Google",)
SHARE = 0.2
"""Of validation and of test, each; the published split has these sizes and was drawn without a seed."""


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the class folders; no image is opened.

    Raises:
        DataLayoutError: if the data is not there, or not laid out as `INFO.layout` says.
    """
    folder = require_folder(NAME, data_root(NAME, source, root), ("caltech-101", "caltech101"))
    whole = folder / "101_ObjectCategories"
    trees = {"train": whole} if whole.is_dir() else split_folders(folder)
    cells = [line.split("\t") for line in asset_lines("caltech101/class_names.tsv")]
    classes = Folders(tuple(name for _, name in cells), tuple(key for key, _ in cells))
    return folders_benchmark(NAME, trees, classes, seed, besides=BACKGROUND, share=SHARE)
