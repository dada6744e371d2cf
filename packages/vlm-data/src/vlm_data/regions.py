"""Parts of images as a data set of their own."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64
from PIL import Image

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.files import text_hash


def check_boxes(
    dataset: ImageDataset, rows: Int64[np.ndarray, " k"], boxes: Float64[np.ndarray, "k 4"]
) -> tuple[Int64[np.ndarray, " k"], Float64[np.ndarray, "k 4"]]:
    """Return which image each region lies in and its box, as arrays.

    Args:
        dataset: the images.
        rows: position of the image of each region in the data set.
        boxes: x1, y1, x2, y2 in pixels of `dataset.image(row)`; x2 and y2 are exclusive.

    Raises:
        CallError: if there is none, a row names no image, or a box is not finite or has no area; the first is named.
    """
    rows, boxes = np.asarray(rows, dtype=np.int64), np.asarray(boxes, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or rows.shape != boxes.shape[:1] or not len(rows):
        raise CallError(
            f"regions do not fit together: {rows.shape} rows and boxes of shape {boxes.shape}; "
            "expected one row (k,) and one box (k, 4) per region, at least one."
        )
    lost = np.flatnonzero((rows < 0) | (rows >= len(dataset)))
    if len(lost):
        raise CallError(
            f"region {lost[0]} lies in image {rows[lost[0]]}; expected a number from 0 to {len(dataset) - 1}."
        )
    whole = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if not whole.all():
        first = int(np.flatnonzero(~whole)[0])
        raise CallError(
            f"region {first} has the box {boxes[first].tolist()}; expected x1 < x2 and y1 < y2, in pixels. "
            f"{np.count_nonzero(~whole)} of {len(boxes)} boxes are wrong."
        )
    return rows, boxes


@dataclasses.dataclass(frozen=True, eq=False)
class CroppedDataset:
    """Regions cut out of the images of another data set, see `vlm_data.dataset.ImageDataset` for the fields.

    A region gets the id `IMAGE#NUMBER`, its number among all regions, and the label and captions of its image.
    Parts of a box outside its image are left out; of a box that covers no pixel the nearest one is taken.

    Attributes:
        whole: the images.
        rows: position of the image of each region in it.
        boxes: x1, y1, x2, y2 in pixels of the images; x2 and y2 are exclusive.

    Example:
        >>> from vlm_data import load_benchmark
        >>> digits = load_benchmark("digits", limit=2).test
        >>> CroppedDataset(digits, np.array([1]), np.array([[0, 0, 14, 28]])).image(0).size
        (14, 28)
    """

    whole: ImageDataset
    rows: Int64[np.ndarray, " k"]
    boxes: Float64[np.ndarray, "k 4"]

    def __post_init__(self) -> None:
        rows, boxes = check_boxes(self.whole, self.rows, self.boxes)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "boxes", boxes)

    @property
    def name(self) -> str:
        """The name of the images."""
        return self.whole.name

    @property
    def split(self) -> str:
        """The split of the images."""
        return self.whole.split

    @property
    def ids(self) -> tuple[str, ...]:
        """Image id and number of each region."""
        return tuple(f"{self.whole.ids[row]}#{number}" for number, row in enumerate(self.rows))

    @property
    def labels(self) -> Int64[np.ndarray, " k"]:
        """The label of the image of each region."""
        return self.whole.labels[self.rows]

    @property
    def captions(self) -> tuple[tuple[str, ...], ...]:
        """The captions of the image of each region."""
        return tuple(self.whole.captions[row] for row in self.rows) if self.whole.captions else ()

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The groups of the image of each region."""
        return {name: tuple(values[row] for row in self.rows) for name, values in self.whole.groups.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def _pixels(self, index: int, width: int, height: int) -> tuple[int, int, int, int]:
        x1, y1, x2, y2 = self.boxes[index].round().astype(int)
        left, top = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
        return left, top, min(max(x2, left + 1), width), min(max(y2, top + 1), height)

    def image(self, index: int) -> Image.Image:
        """Cut one region out of its image."""
        image = self.whole.image(int(self.rows[index]))
        return image.crop(self._pixels(index, *image.size))

    def image_size(self, index: int) -> tuple[int, int]:
        """Return width and height of one region."""
        left, top, right, bottom = self._pixels(index, *self.whole.image_size(int(self.rows[index])))
        return right - left, bottom - top

    def evidence(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """Return the part of the evidence mask inside the region, or None."""
        mask = self.whole.evidence(int(self.rows[index]))
        if mask is None:
            return None
        left, top, right, bottom = self._pixels(index, mask.shape[1], mask.shape[0])
        return mask[top:bottom, left:right]

    def select(self, indices: Sequence[int]) -> "CroppedDataset":
        """Return the data set of these regions in this order; they are numbered again."""
        chosen = np.asarray(indices, dtype=np.int64)
        return CroppedDataset(self.whole, self.rows[chosen], self.boxes[chosen])

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the images, rows and boxes."""
        return text_hash(self.whole.fingerprint, self.rows.tobytes().hex(), self.boxes.tobytes().hex())
