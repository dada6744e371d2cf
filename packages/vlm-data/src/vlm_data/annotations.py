"""MATLAB files, in which older data sets keep names, labels and splits."""

from pathlib import Path
from typing import Any

from vlm_data.errors import DataLayoutError


def read_matlab(path: Path, *names: str) -> list[Any]:
    """Return variables of a MATLAB file, without the dimensions of size one that MATLAB adds.

    Raises:
        DataLayoutError: if the file is missing, damaged or lacks a variable.
    """
    from scipy.io import loadmat  # imported with the first file: it takes a while
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, squeeze_me=True)
        return [content[name] for name in names]
    except (OSError, KeyError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise DataLayoutError(
            f"cannot read {', '.join(names)} from {path}: {error}. Expected the MATLAB file of the authors. "
            "Download it again."
        ) from error
