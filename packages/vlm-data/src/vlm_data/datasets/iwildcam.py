"""iWildCam 2020 as WILDS hands it out: `iwildcam`."""

import dataclasses
from pathlib import Path

import numpy as np

from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.errors import DataLayoutError, listing
from vlm_data.file_benchmark import file_benchmark
from vlm_data.published import data_root, require_folder, same_names
from vlm_data.wilds import OOD, listed_files, read_columns

INFO = DatasetInfo(
    summary="camera-trap images of 182 species; the shift is other cameras; published results quote macro F1",
    spec="iwildcam",
    layout="""\
iwildcam_v2.0/metadata.csv    one row per image: split (train, id_val, id_test, val, test), filename, y
iwildcam_v2.0/train/*.jpg     the images of all splits
Below --data-root, as the package `wilds` downloads it.
val and test are the split's id_val and id_test, of the cameras of train; the shift `ood` is its test.""",
)
NAME = "iwildcam"
SPLITS = {"train": "train", "id_val": "val", "id_test": "test", "test": OOD}


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the table; no image is opened.

    Raises:
        DataLayoutError: if the data is not there, or not laid out as `INFO.layout` says.
    """
    folder = require_folder(NAME, data_root(NAME, source, root), ("iwildcam_v2.0", "iwildcam"))
    path = folder / "metadata.csv"
    table = read_columns(path, ("split", "filename", "y"))
    names = asset_lines("iwildcam/class_names.txt")
    numbers = {str(label): label for label in range(len(names))}
    strange = sorted(set(table["y"]) - numbers.keys())
    if strange:
        raise DataLayoutError(f"{path} has labels outside 0 to {len(names) - 1}: {listing(strange)}. Expected these.")
    splits = np.array([SPLITS.get(split, "") for split in table["split"]], dtype=object)
    labels = [numbers[label] for label in table["y"]]
    files = listed_files(NAME, folder / "train", table["filename"], labels, splits)
    benchmark = file_benchmark(NAME, names, asset_lines("iwildcam/templates.txt"), files, seed)
    return dataclasses.replace(benchmark, metrics=("macro_f1", "mean_per_class_recall"), notes=same_names(names))
