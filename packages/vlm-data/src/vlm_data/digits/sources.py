"""The two files of scikit-learn that the benchmark is made from: handwritten digits and a photograph.

They are read from where the installed package keeps them instead of through `sklearn.datasets`, whose import alone
takes longer than drawing all shifts.
"""

import functools
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image

from vlm_data.errors import DataLayoutError

SPLITS = {"train": range(0, 797), "val": range(797, 1197), "test": range(1197, 1797)}
"""Rows of the digits; writers come in blocks, so the splits have mostly different writers."""


def _shipped(name: str) -> Path:
    package = distribution("scikit-learn")
    path = Path(str(package.locate_file(f"sklearn/datasets/{name}")))
    if not path.is_file():
        raise DataLayoutError(
            f"scikit-learn {package.version} has no file {path}. "
            "The embedded benchmark is made from the data that scikit-learn ships. "
            "Reinstall it (`pip install --force-reinstall scikit-learn`)."
        )
    return path


@functools.cache
def handwritten_digits() -> tuple[Float32[np.ndarray, "1797 8 8"], Int64[np.ndarray, " 1797"]]:
    """Return the test part of the UCI handwritten digits: ink in [0, 1] and labels, in the order of the file.

    Equal to `sklearn.datasets.load_digits()` with the images divided by 16.

    Raises:
        DataLayoutError: if scikit-learn is installed without its data.

    Example:
        >>> images, labels = handwritten_digits()
        >>> labels[:5]
        array([0, 1, 2, 3, 4])
    """
    table = np.loadtxt(_shipped("data/digits.csv.gz"), delimiter=",", dtype=np.float32)
    return table[:, :-1].reshape(-1, 8, 8) / 16, table[:, -1].astype(np.int64)


@functools.cache
def photograph() -> UInt8[np.ndarray, "427 640 3"]:
    """Return the photograph of a Chinese temple, `sklearn.datasets.load_sample_images().images[0]`.

    Raises:
        DataLayoutError: if scikit-learn is installed without its data.
    """
    with Image.open(_shipped("images/china.jpg")) as image:
        return np.asarray(image)
