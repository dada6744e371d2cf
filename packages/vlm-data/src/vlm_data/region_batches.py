"""Regions of training images on their way into batches: boxes move with the pixels under them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.regions import check_boxes
from vlm_data.tables import Regions

_TENSORS = ("boxes", "image_of", "spurious", "labels", "holds")


@dataclasses.dataclass(frozen=True)
class BatchRegions:
    """The regions of a batch of images, image after image.

    Attributes:
        boxes: (k, 4) float32 x1, y1, x2, y2 in pixels of the model's input; x2 and y2 are exclusive.
        image_of: (k,) which image of the batch each region lies in.
        spurious: (k,) whether it holds the spurious feature.
        labels: (b,) class of every image, `UNLABELLED` where none is known.
        holds: (b,) whether an image has a spurious region, also if a crop has cut it away.
    """

    boxes: Tensor
    image_of: Tensor
    spurious: Tensor
    labels: Tensor
    holds: Tensor

    def to(self, device: torch.device | str) -> "BatchRegions":
        """Move the tensors to a device."""
        return BatchRegions(*(getattr(self, name).to(device, non_blocking=True) for name in _TENSORS))

    def pin_memory(self) -> "BatchRegions":
        """Move the tensors to page-locked memory."""
        return BatchRegions(*(getattr(self, name).pin_memory() for name in _TENSORS))

    @classmethod
    def joined(cls, parts: Sequence["BatchRegions"]) -> "BatchRegions":
        """Return the regions of several batches as those of one.

        Example:
            >>> none = torch.zeros(0, dtype=torch.bool)
            >>> labels, holds = torch.tensor([3, 1]), torch.tensor([True, False])
            >>> one = BatchRegions(torch.zeros(1, 4), torch.tensor([1]), torch.tensor([True]), labels, holds)
            >>> BatchRegions.joined([one, one]).image_of
            tensor([1, 3])
        """
        firsts = np.cumsum([0, *(len(part.labels) for part in parts)])
        moved = [
            dataclasses.replace(part, image_of=part.image_of + int(first))
            for part, first in zip(parts, firsts, strict=False)
        ]
        return cls(*(torch.cat([getattr(part, name) for part in moved]) for name in _TENSORS))


@dataclasses.dataclass(frozen=True, eq=False)
class RegionSource:
    """Regions of the images of one data set, ordered by image.

    Attributes:
        boxes: (k, 4) in pixels of the images.
        spurious: (k,) whether a region holds the spurious feature.
        bounds: (n + 1,) the regions of image i are those from `bounds[i]` to `bounds[i + 1]`.
        labels: (n,) class of every image, `UNLABELLED` where none is known.
    """

    boxes: Float64[np.ndarray, "k 4"]
    spurious: Bool[np.ndarray, " k"]
    bounds: Int64[np.ndarray, " n1"]
    labels: Int64[np.ndarray, " n"]

    @classmethod
    def of(cls, regions: Regions, dataset: ImageDataset, labels: Int64[np.ndarray, " n"]) -> "RegionSource":
        """Sort the regions of a table by the images of a data set; those of other images are left out.

        Args:
            regions: with `spurious`.
            dataset: the training images.
            labels: (n,) class of every image.

        Raises:
            CallError: if the table does not say which regions are spurious, or none lies in these images.
        """
        if regions.spurious is None:
            raise CallError(
                "the table of regions does not say which of them are spurious. Expected a column `spurious`, as in the "
                "train-regions.parquet that `vlm spurious discover` writes or the regions.parquet of a built setting."
            )
        rows = regions.rows_of(dataset.ids)
        kept = np.flatnonzero(rows >= 0)
        rows, boxes = check_boxes(dataset, rows[kept], regions.boxes[kept])
        order = np.argsort(rows, kind="stable")
        bounds = np.searchsorted(rows[order], np.arange(len(dataset) + 1))
        return cls(boxes[order], regions.spurious[kept][order], bounds.astype(np.int64), labels)

    @property
    def holds(self) -> Bool[np.ndarray, " n"]:
        """Whether each image has a spurious region."""
        counts = np.concatenate(([0], np.cumsum(self.spurious)))
        return counts[self.bounds[1:]] > counts[self.bounds[:-1]]

    @property
    def groups(self) -> Int64[np.ndarray, " n"]:
        """The group of each image: 2 c for class c, 2 c + 1 with a spurious region; -1 without a class."""
        return np.where(self.labels >= 0, 2 * self.labels + self.holds, -1)

    def in_image(self, index: int) -> tuple[Float64[np.ndarray, "r 4"], Bool[np.ndarray, " r"]]:
        """Return boxes and flags of the regions of one image."""
        own = slice(self.bounds[index], self.bounds[index + 1])
        return self.boxes[own], self.spurious[own]

    def batch(
        self, rows: Int64[np.ndarray, " b"], moved: Sequence[tuple[Float64[np.ndarray, "r 4"], np.ndarray]]
    ) -> BatchRegions:
        """Return the regions of some images as a batch, without those that are out of view.

        Args:
            rows: the images.
            moved: for each its boxes in pixels of the model's input, and the share of each that is in view.
        """
        boxes = [box.astype(np.float32) for box, _ in moved]
        kept = [
            (share > 0) & (box[:, 2:] > box[:, :2]).all(axis=1) for box, (_, share) in zip(boxes, moved, strict=True)
        ]
        flags = np.concatenate([self.in_image(int(row))[1][seen] for row, seen in zip(rows, kept, strict=True)])
        image_of = np.repeat(np.arange(len(rows)), [int(seen.sum()) for seen in kept])
        starts, ends = self.bounds[rows], self.bounds[rows + 1]
        holds = [bool(self.spurious[start:end].any()) for start, end in zip(starts, ends, strict=True)]
        return BatchRegions(
            torch.from_numpy(np.concatenate([box[seen] for box, seen in zip(boxes, kept, strict=True)])),
            torch.from_numpy(image_of),
            torch.from_numpy(flags),
            torch.from_numpy(self.labels[rows]),
            torch.tensor(holds, dtype=torch.bool),
        )
