"""FashionMNIST, from the files that its authors hand out."""

from pathlib import Path

from vlm_data.benchmark import DatasetInfo
from vlm_data.controlled.mnist_like import LAYOUT, mnist_like
from vlm_data.controlled.objects import Objects

FOLDERS = ("FashionMNIST/raw", "FashionMNIST", "fashion-mnist", "raw", ".")
INFO = DatasetInfo(
    summary="70000 pictures of clothes, 28 x 28 pixels",
    spec="fashion-mnist",
    layout=LAYOUT.format(folders=", ".join(FOLDERS)),
    licence="Fashion-MNIST (Zalando SE), MIT",
)
CLASS_NAMES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""Names of the RaVL paper, in label order."""
TEMPLATES = ("a photo of a {c}", "the {c}", "an image of a {c}", "{c}")
"""Prompts of the RaVL paper."""


def load(root: Path | None) -> Objects:
    """Read the pictures.

    Raises:
        DataLayoutError: if a file is missing or damaged.
    """
    return mnist_like("fashion-mnist", FOLDERS, CLASS_NAMES, TEMPLATES, root)
