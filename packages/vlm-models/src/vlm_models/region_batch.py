"""Regions of a batch of images: which image each lies in, and how much of every patch it covers."""

import dataclasses

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class RegionBatch:
    """Regions of the images of a batch, in any order; an image may have none.

    Attributes:
        boxes: (k, 4) x1, y1, x2, y2 as shares of width and height of the model's input, in [0, 1].
        image_of: (k,) position of the image of each region in the batch.

    Example:
        >>> left = RegionBatch(torch.tensor([[0.0, 0.0, 0.5, 1.0]]), torch.tensor([0]))
        >>> left.coverage((1, 4)).tolist(), left.bias((1, 4)).tolist()
        ([[[1.0, 1.0, 0.0, 0.0]]], [[0.0, 0.0, -inf, -inf]])
    """

    boxes: Float[Tensor, "k 4"]
    image_of: Int64[Tensor, " k"]

    def cells(self, grid: tuple[int, int]) -> Float[Tensor, "k 4"]:
        """Return the boxes in cells of a grid of rows and columns."""
        rows, columns = grid
        return self.boxes * self.boxes.new_tensor([columns, rows] * 2)

    def coverage(self, grid: tuple[int, int]) -> Float[Tensor, "k rows columns"]:
        """Return the share of every cell of a grid that each region covers, in [0, 1]."""
        return box_coverage(self.cells(grid), *grid)

    def shares(self, grid: tuple[int, int]) -> Float[Tensor, "k patches"]:
        """Return the weight of every patch in the mean over a region; rows sum to 1."""
        covered = self.coverage(grid).flatten(1)
        return covered / covered.sum(dim=1, keepdim=True)

    def bias(self, grid: tuple[int, int]) -> Float[Tensor, "k patches"]:
        """Return what is added to attention scores of patches so that a region is all that is seen.

        The logarithm of the coverage, so that a patch counts by the share that lies inside, and one outside not at all.
        Coverages are divided by the largest of the region, else one smaller than a patch would hardly be seen.
        """
        covered = self.coverage(grid).flatten(1)
        return (covered / covered.amax(dim=1, keepdim=True)).log()

    def slots(self, images: int) -> tuple[Int64[Tensor, " k"], int]:
        """Return the number of each region within its image, and the largest number of regions of an image.

        Example:
            >>> RegionBatch(torch.zeros(4, 4), torch.tensor([2, 0, 2, 2])).slots(3)
            (tensor([0, 0, 1, 2]), 3)
        """
        order = self.image_of.argsort(stable=True)
        counts = self.image_of.bincount(minlength=images)
        starts = counts.cumsum(0) - counts
        number = torch.arange(len(order), device=order.device) - starts[self.image_of[order]]
        return torch.empty_like(number).scatter_(0, order, number), int(counts.max())


def box_coverage(cells: Float[Tensor, "k 4"], rows: int, columns: int) -> Float[Tensor, "k rows columns"]:
    """Return how much of every cell of a grid each box covers, in [0, 1].

    Args:
        cells: x1, y1, x2, y2 in cells.
        rows: of the grid.
        columns: of the grid.

    Example:
        >>> box_coverage(torch.tensor([[0.5, 0.0, 2.0, 1.0]]), 1, 3)
        tensor([[[0.5000, 1.0000, 0.0000]]])
    """

    def along(low: Tensor, high: Tensor, count: int) -> Tensor:
        start = torch.arange(count, device=cells.device, dtype=cells.dtype)
        return (torch.minimum(high[:, None], start + 1) - torch.maximum(low[:, None], start)).clamp(min=0)

    x1, y1, x2, y2 = cells.unbind(1)
    return along(y1, y2, rows)[:, :, None] * along(x1, x2, columns)[:, None, :]
