"""Evidence that lies in one annotation file per image: outlines, boxes or segmentations as data sets hand them out."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from vlm_data.files import text_hash

Reader = Callable[[Path, tuple[int, int]], Bool[np.ndarray, "h w"]]
"""From an annotation file and the width and height of its image to the mask."""


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotationFiles:
    """An `vlm_data.evidence.source.EvidenceSource` that reads the file of an image when its mask is asked for.

    Attributes:
        files: annotation file of each sample id; images without one have no evidence.
        read: makes a mask of one file.
        rule: names the choices of `read` that change masks, such as a threshold, for the fingerprint.

    Example:
        >>> source = AnnotationFiles({"a.jpg": Path("a.xml")}, lambda path, size: np.ones(size[::-1], dtype=bool))
        >>> source.mask("a.jpg", (3, 2)).shape, source.mask("b.jpg", (3, 2))
        ((2, 3), None)
    """

    files: Mapping[str, Path]
    read: Reader
    rule: str = ""

    def knows(self, sample_id: str) -> bool:
        """Return whether there is evidence for an image, without opening any file."""
        return sample_id in self.files

    def mask(self, sample_id: str, size: tuple[int, int]) -> Bool[np.ndarray, "h w"] | None:
        """Return the evidence of one image, or None where it has no annotation file.

        Args:
            sample_id: of the image.
            size: its width and height.

        Raises:
            DataLayoutError: if the file is damaged; the message names it.
        """
        return self.read(self.files[sample_id], size) if self.knows(sample_id) else None

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of ids, file sizes (contents are not read; 0 if missing) and the rule."""
        return self._digest

    @cached_property  # every split of a data set asks for it
    def _digest(self) -> str:
        return text_hash(self.rule, file_sizes(self.files))


def file_sizes(files: Mapping[str, Path]) -> str:
    """Return ids and file sizes (0 for a missing file) as text to hash, which changes with either; nothing is read.

    Example:
        >>> file_sizes({"b.jpg": Path("no file"), "a.jpg": Path("none")})
        "[('a.jpg', 0), ('b.jpg', 0)]"
    """
    return repr([(name, path.stat().st_size if path.exists() else 0) for name, path in sorted(files.items())])


def files_in_folders(home: Path) -> dict[str, set[str]]:
    """Return the names of the files in each folder of a folder: many annotations are found without asking for each.

    Example:
        >>> import tempfile
        >>> home = Path(tempfile.mkdtemp())
        >>> (home / "crab").mkdir(), (home / "crab" / "1.mat").touch(), (home / "notes.txt").touch()
        (None, None, None)
        >>> files_in_folders(home)
        {'crab': {'1.mat'}}
    """
    return {entry.name: {file.name for file in os.scandir(entry)} for entry in os.scandir(home) if entry.is_dir()}
