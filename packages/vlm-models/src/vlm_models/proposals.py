"""Where regions come from: one file of `vlm_models.proposers` is one way to propose them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.progress import Progress, silent
from vlm_data.regions import check_boxes
from vlm_data.registry import Registry
from vlm_data.tables.regions import Regions

REGISTRY = Registry("vlm_models.proposers", "region proposer")
GRID = "grid:2x2"
"""The proposals of the published evaluation on canvases of four quadrants."""


@dataclasses.dataclass(frozen=True)
class ProposerInfo:
    """What users read about a proposer.

    Attributes:
        summary: one sentence.
        spec: how it is written.
    """

    summary: str
    spec: str


@dataclasses.dataclass(frozen=True, eq=False)
class Proposals:
    """Boxes in the images of a data set, in the order of the images.

    Attributes:
        rows: (k,) position of the image of each box in the data set.
        boxes: (k, 4) x1, y1, x2, y2 in pixels of the images, x2 and y2 exclusive.
        scores: (k,) how sure the proposer is, in [0, 1], or None.
        spec: what they were proposed by.
    """

    rows: Int64[np.ndarray, " k"]
    boxes: Float64[np.ndarray, "k 4"]
    scores: Float32[np.ndarray, " k"] | None = None
    spec: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, chosen: Sequence[int] | np.ndarray) -> "Proposals":
        """Return these proposals in this order."""
        scores = None if self.scores is None else self.scores[chosen]
        return Proposals(self.rows[chosen], self.boxes[chosen], scores, self.spec)


@dataclasses.dataclass(frozen=True)
class ProposerCall:
    """What a proposer may need beside the images.

    Attributes:
        source: what follows the colon of the spec, "" if nothing does.
        regions: the data set's own table of regions, if it has one.
        device: where a detector runs.
        most: at most so many regions per image are kept; None = all.
        batch_size: images at a time.
        progress: told about batches.
    """

    source: str
    regions: Regions | None = None
    most: int | None = None
    device: torch.device | str = "cpu"
    batch_size: int = 8
    progress: Progress = silent


def propose(
    spec: str,
    dataset: ImageDataset,
    *,
    regions: Regions | None = None,
    max_regions: int | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 8,
    progress: Progress = silent,
) -> Proposals:
    """Propose regions of every image.

    Args:
        spec: `PROPOSER` or `PROPOSER:SOURCE`: `grid:2x2`, `boxes:FILE`, `sliding:0.5,0.25`, `rpn:FILE`.
        dataset: the images.
        regions: the data set's own regions, for `boxes` without a file.
        max_regions: at most so many per image, those of the highest scores, or the first where there are none.
        device: where a detector runs.
        batch_size: images at a time, for a detector.
        progress: told about batches.

    Raises:
        CallError: for an unknown proposer or a source it does not understand, or if no image has a region.

    Example:
        >>> from vlm_data import load_benchmark
        >>> found = propose("grid:2x2", load_benchmark("digits", limit=2).test)
        >>> found.rows.tolist(), found.boxes[1].tolist()
        ([0, 0, 0, 0, 1, 1, 1, 1], [16.0, 0.0, 32.0, 16.0])
    """
    if max_regions is not None and max_regions < 1:
        raise CallError(f"at most {max_regions} regions per image were asked for; expected one or more.")
    if not len(dataset):
        raise CallError(f"{dataset.name} ({dataset.split}) has no images; expected at least one.")
    name, _, source = spec.partition(":")
    found = REGISTRY.load(name).propose(
        dataset, ProposerCall(source, regions, max_regions, device, batch_size, progress)
    )
    if not len(found):
        raise CallError(
            f"{spec} proposes no region in {len(dataset)} images of {dataset.name} ({dataset.split}); expected at "
            "least one. Take another proposer, such as grid:2x2."
        )
    check_boxes(dataset, found.rows, found.boxes)
    return dataclasses.replace(_fewest(found, max_regions), spec=spec)


def _fewest(found: Proposals, most: int | None) -> Proposals:
    """Return the proposals in the order of the images, and of each image the best, or first, ones."""
    scores = np.zeros(len(found)) if found.scores is None else -found.scores
    found = found.select(np.lexsort((scores, found.rows)))
    if most is None:
        return found
    starts = np.searchsorted(found.rows, found.rows)  # of the image of each proposal
    return found.select(np.flatnonzero(np.arange(len(found)) - starts < most))
