"""Data sets in the files of MNIST: 28 x 28 pixels, a training and a test part."""

from pathlib import Path

import numpy as np

from vlm_data.controlled.idx_files import idx_folder, read_part
from vlm_data.controlled.objects import CAPTIONS, ObjectPictures, Objects

CANVAS = 56
"""Side of a canvas of the RaVL paper: objects keep their size."""
LAYOUT = """\
train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, each as it is or
with .gz, in {folders} below --data-root; the folder that torchvision downloads into has them there.
"""


def mnist_like(
    name: str, folders: tuple[str, ...], class_names: tuple[str, ...], templates: tuple[str, ...], root: Path | None
) -> Objects:
    """Read a data set; half of its test part, drawn once, is for validation, so no object is in two splits.

    Args:
        name: of the source.
        folders: where its files may lie below `root`.
        class_names: one per label.
        templates: prompts with `{c}`.
        root: folder to look in; the current one by default.

    Raises:
        DataLayoutError: if a file is missing or damaged, or a split lacks a class.
    """
    folder = idx_folder(name, root, folders)
    train, test = (read_part(folder, part, len(class_names)) for part in ("train", "test"))
    # The published order is no random one: the first half of MNIST's test part was written by other people.
    order = np.random.default_rng(0).permutation(len(test.labels))
    halves = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    val, kept = (ObjectPictures(test.images[rows], test.labels[rows]) for rows in halves)
    return Objects(name, class_names, templates, CAPTIONS, {"train": train, "val": val, "test": kept}, CANVAS)
