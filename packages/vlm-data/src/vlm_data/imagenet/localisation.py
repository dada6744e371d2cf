"""Boxes around the objects of ImageNet's validation images, and where they lie in the images of ImageNet-C."""

import csv
import dataclasses
from collections.abc import Mapping
from functools import cached_property
from operator import le
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image

from vlm_data.errors import DataLayoutError, UnreadableImageError
from vlm_data.evidence.annotation_files import file_sizes
from vlm_data.evidence.boxes import CLEAN_CROP, CLEAN_SIDE, Boxes, boxes_mask
from vlm_data.file_benchmark import FileList
from vlm_data.files import text_hash

FILE = "LOC_val_solution.csv"
COLUMNS = ("ImageId", "PredictionString")


@dataclasses.dataclass(frozen=True, eq=False)
class CroppedBoxes:
    """An `vlm_data.evidence.source.EvidenceSource`: boxes of clean images, where the images of ImageNet-C show them.

    These were made of the clean images with their shorter side scaled to 256, of which the central 224 were cut.

    Attributes:
        clean: boxes of the clean images, which have the same ids.
        paths: file of the clean image by sample id, whose size tells what was scaled and cut; an image of ImageNet-C
            without one has no evidence.
    """

    clean: Boxes
    paths: Mapping[str, Path]

    def knows(self, sample_id: str) -> bool:
        """Return whether there is evidence for an image, without opening any file."""
        return sample_id in self.clean.boxes and sample_id in self.paths

    def mask(self, sample_id: str, size: tuple[int, int]) -> Bool[np.ndarray, "h w"] | None:
        """Return the evidence of one corrupted image, or None where its clean image or the boxes are not known.

        Args:
            sample_id: id of the clean image.
            size: width and height of the corrupted image, 224 x 224 as handed out.

        Raises:
            DataLayoutError: if the corrupted image is not square: it is then no central cut of the clean one.
            UnreadableImageError: if the clean image cannot be opened.
        """
        if not self.knows(sample_id):
            return None
        if size[0] != size[1]:
            raise DataLayoutError(
                f"the corrupted image {sample_id} has {size[0]} x {size[1]} pixels. Expected {CLEAN_CROP} x "
                f"{CLEAN_CROP}, the centre of the clean image, or the boxes cannot be placed. Use ImageNet-C as its "
                f"authors hand it out, or take {FILE} away to go without evidence."
            )
        return boxes_mask(cropped_boxes(self.clean.boxes[sample_id], _size(self.paths[sample_id]), size[0]), size)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the clean boxes, and of names and file sizes of the clean images."""
        return self._digest

    @cached_property  # asked for once per data set, and ImageNet-C has 75
    def _digest(self) -> str:
        return text_hash(self.clean.fingerprint, file_sizes(self.paths))


def cropped_boxes(
    boxes: Int64[np.ndarray, "k 4"], clean_size: tuple[int, int], side: int = CLEAN_CROP
) -> Int64[np.ndarray, "m 4"]:
    """Return boxes of a clean image in pixels of its corrupted version, both corners inclusive.

    A pixel belongs to a box if its centre does. What lies beyond the cut keeps its place there, outside of the image;
    boxes that cover no centre are left out.

    Args:
        boxes: in pixels of the clean image, both corners inclusive.
        clean_size: width and height of the clean image.
        side: of the corrupted image.

    Example:
        >>> cropped_boxes(np.array([[0, 0, 499, 374]]), (500, 375))
        array([[-58, -16, 282, 239]])
    """
    from vlm_data.transforms import resized_shape  # here, so that listing data sets imports no torch

    resized = np.array(resized_shape(*clean_size, CLEAN_SIDE))
    offset = np.rint((resized - CLEAN_CROP) / 2)  # as the centre crop of torchvision rounds
    corners = boxes.reshape(-1, 2, 2) + np.array([[0], [1]])
    moved = (corners * (resized / clean_size) - offset) * (side / CLEAN_CROP)
    first, after = np.ceil(moved - 0.5).astype(np.int64).transpose(1, 0, 2)
    found = np.concatenate([first, after - 1], axis=1)
    return found[(first < after).all(axis=1)]


def boxes_of_tests(path: Path, label_of: Mapping[str, int], files: FileList) -> Boxes:
    """Return the boxes of the test images that a table such as `LOC_val_solution.csv` has, found by file name.

    Args:
        path: of the table.
        label_of: label of each WordNet id that is used.
        files: images of all splits.

    Raises:
        DataLayoutError: see `read_boxes`; or if a test image is not in the folder of the class that its boxes have: the
            images were sorted into the wrong folders.
    """
    annotated = read_boxes(path)
    found: dict[str, Int64[np.ndarray, "k 4"]] = {}
    for row in np.flatnonzero(files.splits == "test").tolist():  # of 1.3 million images 50,000
        image, label = files.ids[row], int(files.labels[row])
        name = image.rpartition("/")[2].rpartition(".")[0]
        if name not in annotated:
            continue
        wnid, found[image] = annotated[name]
        if label_of.get(wnid) != label:
            raise DataLayoutError(
                f"{image} is not in the folder of its class: {path} says {wnid}. Expected every validation image in "
                "the folder of its class. Sort the validation images into class folders again."
            )
    return Boxes(found)


def read_boxes(path: Path) -> dict[str, tuple[str, Int64[np.ndarray, "k 4"]]]:
    """Return the WordNet id and the boxes of every image in a table such as `LOC_val_solution.csv`, by image name.

    A line tells `WNID x1 y1 x2 y2`, repeated for every box, both corners inclusive. Fractions are cut off. All boxes of
    an image are of one class.

    Raises:
        DataLayoutError: if the table cannot be read, lacks a column, has a line that is not so, or an image twice.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), FILE)
        >>> lines = ["ImageId,PredictionString", "ILSVRC2012_val_00000001,n01751748 111 108 389 300 "]
        >>> _ = path.write_text(chr(10).join(lines))
        >>> read_boxes(path)
        {'ILSVRC2012_val_00000001': ('n01751748', array([[111, 108, 389, 300]]))}
    """
    found: dict[str, tuple[str, Int64[np.ndarray, "k 4"]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise ValueError(f"its columns are {', '.join(rows.fieldnames or ()) or 'missing'}")
            for row in rows:
                name, text = (row[column] or "" for column in COLUMNS)
                if not name or name in found:
                    raise ValueError(f"line {rows.line_num} has {f'image {name} again' if name else 'no image'}")
                found[name] = _annotation(text, rows.line_num)
    except (OSError, ValueError, csv.Error) as error:
        raise DataLayoutError(
            f"cannot read {path}: {error}. Expected the table of ImageNet's localisation challenge with the columns "
            f"{' and '.join(COLUMNS)}, the latter 'n01440764 x1 y1 x2 y2' for each box. Download it again."
        ) from error
    return found


def _annotation(text: str, line: int) -> tuple[str, Int64[np.ndarray, "k 4"]]:
    cells = text.split()
    try:
        numbers = [int(float(cell)) for place, cell in enumerate(cells) if place % 5]
        x1, y1, x2, y2 = (numbers[corner::4] for corner in range(4))
        ordered = len(cells) % 5 == 0 and all(map(le, x1, x2)) and all(map(le, y1, y2))
    except (ValueError, OverflowError):  # no number, nan, inf
        numbers, ordered = [], False
    wnids = set(cells[::5])
    if not ordered or len(wnids) != 1:
        raise ValueError(f"line {line} has the boxes {text[:60]!r}")
    return wnids.pop(), np.array(numbers, dtype=np.int64).reshape(-1, 4)


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImageError(
            f"cannot tell the size of {path}: {error}. Expected the clean image, by which the boxes of the corrupted "
            "one are placed. Repair it."
        ) from error
