"""MNIST, from the files that its authors hand out."""

from pathlib import Path

from vlm_data.asset import asset_lines
from vlm_data.benchmark import DatasetInfo
from vlm_data.controlled.mnist_like import LAYOUT, mnist_like
from vlm_data.controlled.objects import DIGIT_TEMPLATES, Objects

FOLDERS = ("MNIST/raw", "MNIST", "raw", ".")
INFO = DatasetInfo(
    summary="70000 handwritten digits, 28 x 28 pixels",
    spec="mnist",
    layout=LAYOUT.format(folders=", ".join(FOLDERS)),
    licence="MNIST (LeCun, Cortes, Burges), CC BY-SA 3.0",
)


def load(root: Path | None) -> Objects:
    """Read the digits.

    Raises:
        DataLayoutError: if a file is missing or damaged.
    """
    return mnist_like("mnist", FOLDERS, asset_lines("digits/class_names.txt"), DIGIT_TEMPLATES, root)
