"""Flowers102 as its authors hand it out, or prepared as class folders of splits: `flowers102`."""

from pathlib import Path

import numpy as np

from vlm_data.annotations import read_matlab
from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.errors import DataLayoutError, listing
from vlm_data.file_benchmark import FileList, file_benchmark
from vlm_data.prepared import Folders, folders_benchmark, split_folders
from vlm_data.published import data_root, require_files, require_folder

INFO = DatasetInfo(
    summary="photographs of 102 kinds of flowers, ten of each for training",
    spec="flowers102",
    layout="""\
flowers102/jpg/image_00001.jpg ...   with flowers102/imagelabels.mat and flowers102/setid.mat: official splits
flowers102/train/CLASS/*.jpg         instead: prepared splits, with val and test; CLASS is a name or 1 to 102
Below --data-root; the folder may also be called flowers-102.""",
)
NAME = "flowers102"
SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read labels and splits; no image is opened.

    Raises:
        DataLayoutError: if the data is not there, or not laid out as `INFO.layout` says.
    """
    folder = require_folder(NAME, data_root(NAME, source, root), ("flowers102", "flowers-102"))
    names = asset_lines("flowers102/class_names.txt")
    if not (folder / "jpg").is_dir():
        numbers = tuple(str(number) for number in range(1, len(names) + 1))
        return folders_benchmark(NAME, split_folders(folder), Folders(names, numbers), seed)
    labels = np.atleast_1d(read_matlab(folder / "imagelabels.mat", "labels")[0]).astype(np.int64) - 1
    members = [np.atleast_1d(rows) for rows in read_matlab(folder / "setid.mat", *SPLITS.values())]
    splits = np.full(len(labels), "", dtype=object)
    for split, rows in zip(SPLITS, members, strict=True):
        outside = [str(row) for row in rows.tolist() if not 1 <= row <= len(labels)]
        if outside:
            raise DataLayoutError(
                f"{folder / 'setid.mat'} names images that have no label: {listing(outside)}. "
                f"Expected numbers 1 to {len(labels)}. Download both files again."
            )
        splits[rows - 1] = split
    rows = np.flatnonzero(splits != "").tolist()
    images = [f"image_{row + 1:05d}.jpg" for row in rows]
    require_files(NAME, folder / "jpg", images)
    files = FileList(
        tuple(f"jpg/{image}" for image in images),
        tuple(folder / "jpg" / image for image in images),
        labels[rows],
        splits[rows],
    )
    return file_benchmark(NAME, names, asset_lines(f"{NAME}/templates.txt"), files, seed)
