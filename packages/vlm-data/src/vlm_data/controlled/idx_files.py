"""IDX files, in which MNIST and data sets like it are handed out: numbers of one byte with their shape before them."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vlm_data.controlled.objects import ObjectPictures
from vlm_data.errors import DataLayoutError

_UNSIGNED_BYTES = 8  # the code of the type in the third byte
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Images and labels of each part, as the authors call them; `.gz` may follow, and a dot may stand before `idx`."""


def read_idx(path: Path, dimensions: int) -> UInt8[np.ndarray, "..."]:
    """Read one file, compressed or not.

    Two zero bytes, one for the type (8: unsigned byte), one for the number of dimensions, each dimension as a
    big-endian number of four bytes, then the values (LeCun, Cortes, Burges: the MNIST database).

    Args:
        path: of the file; it is unpacked where it ends in `.gz`.
        dimensions: that are expected: 3 for images, 1 for labels.

    Raises:
        DataLayoutError: if it cannot be read, is something else, or is longer or shorter than it says.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "labels")
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
        >>> read_idx(path, 1).tolist()
        [5, 0, 4]
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error) or "it ends early") from error
    start = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, _UNSIGNED_BYTES, dimensions]) or len(data) < start:
        raise _damaged(path, f"it begins with {list(data[:4])} instead of {[0, 0, _UNSIGNED_BYTES, dimensions]}")
    shape = tuple(np.frombuffer(data, ">u4", dimensions, 4).tolist())
    if len(data) - start != math.prod(shape):
        raise _damaged(
            path, f"it says that it holds {' x '.join(map(str, shape))} bytes, but holds {len(data) - start}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_part(folder: Path, part: str, classes: int) -> ObjectPictures:
    """Read images and labels of one part, `train` or `test`, from a folder.

    Raises:
        DataLayoutError: if a file is missing or damaged, they do not go together, or a label is no class.
    """
    images_path, labels_path = (_existing(folder, name) for name in FILES[part])
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels) or not images.size:
        raise DataLayoutError(
            f"{images_path} has {len(images)} images, {labels_path} {len(labels)} labels; expected one label for each. "
            "Take both files from one download."
        )
    if labels.max() >= classes:
        raise DataLayoutError(f"{labels_path} has the label {labels.max()}; expected classes from 0 to {classes - 1}.")
    return ObjectPictures(images, labels.astype(np.int64))


def idx_folder(name: str, root: Path | None, folders: Sequence[str]) -> Path:
    """Return the first folder below `root` that holds images to train on.

    Args:
        name: of the data set, for messages.
        root: where to look; the current folder by default.
        folders: where they may lie, relative to `root`.

    Raises:
        DataLayoutError: if none holds them.
    """
    base = (root or Path()).expanduser()
    for folder in folders:
        if any(path.is_file() for path in _spellings(base / folder, FILES["train"][0])):
            return base / folder
    raise DataLayoutError(
        f"{name} is not below {base}: no {FILES['train'][0]} (or .gz) in {', '.join(folders)}. Expected the four IDX "
        f"files {', '.join(one for part in FILES.values() for one in part)}. Say with --data-root where they lie."
    )


def _existing(folder: Path, name: str) -> Path:
    found = [path for path in _spellings(folder, name) if path.is_file()]
    if not found:
        raise DataLayoutError(f"{folder} has no {name} (or {name}.gz). Expected it beside the other IDX files. Add it.")
    return found[0]


def _spellings(folder: Path, name: str) -> list[Path]:
    dotted = name.replace("-idx", ".idx")
    return [folder / f"{spelled}{ending}" for spelled in (name, dotted) for ending in ("", ".gz")]


def _damaged(path: Path, why: str) -> DataLayoutError:
    return DataLayoutError(
        f"cannot read {path} as an IDX file: {why}. Expected numbers of one byte with their shape before them. "
        "Download or unpack it again."
    )
