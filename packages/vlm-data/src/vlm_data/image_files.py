"""Single image files, without splits or classes, as a data set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlm_data.class_folders import SUFFIXES
from vlm_data.dataset import UNLABELLED, FileDataset
from vlm_data.errors import CallError


def images_of_files(paths: Sequence[Path]) -> FileDataset:
    """Return image files, and all images directly in folders that are given, as a data set without labels.

    Raises:
        CallError: if a path does not exist, or a folder holds no image.

    Example:
        >>> import tempfile
        >>> images_of_files([Path(tempfile.mkdtemp())])
        Traceback (most recent call last):
            ...
        vlm_data.errors.CallError: /... holds no image. Expected files ending in .jpg .jpeg .png ...
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise CallError(
                f"{path} does not exist. Expected an image file or a folder of them; images of a benchmark are "
                "chosen by --data and --id, further models by --beside."
            )
        found = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not found:
            raise CallError(f"{path} holds no image. Expected files ending in {' '.join(SUFFIXES)}.")
        files += found
    files = list(dict.fromkeys(files))
    return FileDataset("images", "test", tuple(map(str, files)), np.full(len(files), UNLABELLED), tuple(files))
