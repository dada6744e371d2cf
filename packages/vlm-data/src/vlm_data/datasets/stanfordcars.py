"""Stanford Cars as its authors hand it out, or prepared as class folders of splits: `stanfordcars`."""

from pathlib import Path

import numpy as np

from vlm_data.annotations import read_matlab
from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.file_benchmark import FileList, file_benchmark
from vlm_data.prepared import folders_benchmark, split_folders
from vlm_data.published import data_root, require_files, require_folder

INFO = DatasetInfo(
    summary="photographs of 196 makes, models and years of cars",
    spec="stanfordcars",
    layout="""\
stanford_cars/devkit/cars_meta.mat, cars_train_annos.mat   with cars_test_annos_withlabels.mat there or beside devkit
stanford_cars/cars_train/*.jpg, cars_test/*.jpg            official splits; a fifth of train becomes val
StanfordCars/train/CLASS/*.jpg                             instead: prepared splits, with val and test
Below --data-root. A "/" in a class name is read as "-".""",
)
NAME = "stanfordcars"
VALIDATION_SHARE, VALIDATION_SEED = 0.2, 10
"""Of the published split: `train_test_split(test_size=0.2, random_state=10)` of scikit-learn, 6,515 and 1,629 images.

It is taken over the images in the order of the annotations; that the published program did so is likely, not certain.
"""


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read names, labels and splits; no image is opened.

    Raises:
        DataLayoutError: if the data is not there, or not laid out as `INFO.layout` says.
    """
    folder = require_folder(NAME, data_root(NAME, source, root), ("stanford_cars", "StanfordCars", "stanfordcars"))
    devkit = folder / "devkit"
    if not devkit.is_dir():
        return folders_benchmark(NAME, split_folders(folder), None, seed)
    test = "cars_test_annos_withlabels.mat"
    train_rows = _annotated(devkit / "cars_train_annos.mat", folder / "cars_train")
    test_rows = _annotated(devkit / test if (devkit / test).is_file() else folder / test, folder / "cars_test")
    splits = np.array(["train"] * len(train_rows) + ["test"] * len(test_rows), dtype=object)
    splits[validation_rows(len(train_rows))] = "val"
    names = [
        str(name).replace("/", "-") for name in np.atleast_1d(read_matlab(devkit / "cars_meta.mat", "class_names")[0])
    ]
    paths = tuple(path for path, _ in (*train_rows, *test_rows))
    labels = np.array([label for _, label in (*train_rows, *test_rows)], dtype=np.int64)
    files = FileList(tuple(path.relative_to(folder).as_posix() for path in paths), paths, labels, splits)
    return file_benchmark(NAME, names, asset_lines(f"{NAME}/templates.txt"), files, seed)


def validation_rows(count: int) -> list[int]:
    """Return which of `count` training images are for validation, as scikit-learn draws them.

    Example:
        >>> len(validation_rows(8144))
        1629
    """
    size = int(np.ceil(VALIDATION_SHARE * count))
    return np.random.RandomState(VALIDATION_SEED).permutation(count)[:size].tolist()


def _annotated(path: Path, images: Path) -> list[tuple[Path, int]]:
    """Return file and label of every image that a file of annotations tells."""
    rows = np.atleast_1d(read_matlab(path, "annotations")[0])
    names = [str(row["fname"]) for row in rows]
    require_files(NAME, images, names)
    return [(images / name, int(row["class"]) - 1) for name, row in zip(names, rows, strict=True)]
