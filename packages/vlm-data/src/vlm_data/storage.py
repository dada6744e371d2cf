"""Can this folder be written, and how much fits into it."""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Storage:
    """What a folder offers.

    Attributes:
        path: the folder, or the nearest one above it that exists.
        free_bytes: free space for this user.
        problem: why nothing can be written there; empty if it can.
    """

    path: Path
    free_bytes: int
    problem: str = ""


def inspect_storage(path: str | os.PathLike[str]) -> Storage:
    """Try to write a file into a folder, which is removed again; a missing folder is judged by the one above it.

    Example:
        >>> found = inspect_storage(tempfile.mkdtemp() + "/new")
        >>> found.problem, found.free_bytes >= 0
        ('', True)
    """
    wanted = Path(path).expanduser().absolute()
    folder = next(place for place in (wanted, *wanted.parents) if place.exists())
    free = shutil.disk_usage(folder).free
    try:
        with tempfile.TemporaryFile(dir=folder) as handle:  # permissions alone do not tell: quotas, read-only mounts
            handle.write(b"vlm")
    except OSError as error:
        return Storage(folder, free, error.strerror or str(error))
    return Storage(folder, free)
