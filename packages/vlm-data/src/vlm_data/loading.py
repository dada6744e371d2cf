"""Batches in a reproducible order, the same for any number of processes and workers.

No draw depends on what was drawn before it: the order of an epoch comes from (seed, epoch), and crop and caption
of an image from (seed, epoch, index). A run can therefore start again at any step, and the global batch of a step
is the same whether one process reads it or eight do.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.utils.data import DataLoader

from vlm_data.captions import Captioner
from vlm_data.dataset import ArrayDataset, ImageDataset
from vlm_data.errors import CallError, VlmError
from vlm_data.preprocess import Preprocess
from vlm_data.region_batches import BatchRegions, RegionSource
from vlm_data.transforms import evaluation_transform, training_view, transform_boxes


@dataclasses.dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        indices: (b,) positions in the data set.
        images: (b, 3, h, w) uint8, or (b, d) float features when the encoder is frozen.
        labels: (b,) int64.
        captions: b texts, empty when the method needs none.
        regions: parts of the images, None when the method needs none.
    """

    indices: Int64[Tensor, " b"]
    images: Tensor
    labels: Int64[Tensor, " b"]
    captions: tuple[str, ...] = ()
    regions: BatchRegions | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """Move the tensors to a device."""
        images, labels = (t.to(device, non_blocking=True) for t in (self.images, self.labels))
        return Batch(self.indices, images, labels, self.captions, self.regions and self.regions.to(device))

    def pin_memory(self) -> "Batch":
        """Move the tensors to page-locked memory; `DataLoader` calls this so that copies to a GPU overlap with work."""
        regions = self.regions and self.regions.pin_memory()
        return Batch(self.indices, self.images.pin_memory(), self.labels.pin_memory(), self.captions, regions)


@dataclasses.dataclass(frozen=True)
class _Fetcher:
    """Turns lists of indices into batches; `DataLoader` calls `__getitems__` once per batch.

    An error a user can repair is returned, not raised: `DataLoader` would wrap the message of what a worker raises
    in that worker's traceback.
    """

    dataset: ImageDataset
    preprocess: Preprocess
    augmentation: str = "none"
    captioner: Captioner | None = None
    seed: int = 0
    epoch: int = 0
    regions: RegionSource | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> Batch | VlmError:
        try:
            return self._batch(np.asarray(indices, dtype=np.int64))
        except VlmError as error:
            return error

    def _batch(self, rows: Int64[np.ndarray, " b"]) -> Batch:
        draws = self.augmentation != "none" or self.captioner is not None
        rngs = [sample_rng(self.seed, self.epoch, int(i)) for i in rows] if draws else []
        captions = (
            tuple(self.captioner.draw(self.dataset, int(i), rng) for i, rng in zip(rows, rngs, strict=True))
            if self.captioner
            else ()
        )
        labels = torch.from_numpy(self.dataset.labels[rows])
        images, regions = self._views(rows, rngs)
        return Batch(torch.from_numpy(rows), images, labels, captions, regions)

    def _views(self, rows: np.ndarray, rngs: list[np.random.Generator]) -> tuple[Tensor, BatchRegions | None]:
        if self.augmentation == "none":
            images, moved = self._images(rows), [self._moved(int(i)) for i in rows] if self.regions else []
        else:
            views = [
                training_view(self.dataset.image(int(i)), self._boxes(int(i)), self.preprocess, self.augmentation, rng)
                for i, rng in zip(rows, rngs, strict=True)
            ]
            images, moved = torch.stack([view[0] for view in views]), [view[1:] for view in views]
        return images, self.regions.batch(rows, moved) if self.regions else None

    def _boxes(self, index: int) -> np.ndarray:
        return self.regions.in_image(index)[0] if self.regions else np.zeros((0, 4))

    def _moved(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return transform_boxes(self._boxes(index), self.dataset.image_size(index), self.preprocess)

    def _images(self, rows: np.ndarray) -> Tensor:
        """Return the images as an evaluation sees them."""
        size = self.preprocess.size
        as_it_is = size == self.preprocess.shorter_side
        if as_it_is and isinstance(self.dataset, ArrayDataset) and self.dataset.images.shape[1:3] == (size, size):
            return torch.from_numpy(self.dataset.images[rows]).permute(0, 3, 1, 2).contiguous()
        return torch.stack([evaluation_transform(self.dataset.image(int(i)), self.preprocess) for i in rows])


def _identity(batch: Any) -> Any:  # already collated; `DataLoader` annotates a list of samples
    return batch


def _loader(fetcher: _Fetcher, batches: list[list[int]], workers: int | None) -> Iterator[Batch]:
    if workers is None:
        workers = 0 if isinstance(fetcher.dataset, ArrayDataset) else min(8, (os.cpu_count() or 2) - 1, len(batches))
    loader: DataLoader[Batch | VlmError] = DataLoader(
        fetcher,  # type: ignore[arg-type]  # map-style by __getitems__, which torch prefers over __getitem__
        batch_sampler=batches,
        collate_fn=_identity,
        num_workers=workers,
        generator=torch.Generator(),  # own generator: making the iterator must not draw from the global one
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, VlmError):
            raise batch
        yield batch


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of everything drawn for one sample in one epoch.

    The index is a spawn key because `SeedSequence` pads with zeros: the plain entropy (seed, epoch, 0) is the entropy
    (seed, epoch) of `epoch_order`.

    Example:
        >>> sample_rng(0, 0, index=0).random() == np.random.default_rng((0, 0)).random()
        False
    """
    return np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(index,)))


def step_rng(seed: int, step: int) -> np.random.Generator:
    """Return the generator of what is drawn once for all samples of an optimiser step.

    The second spawn key tells it from the generator of sample `step` in epoch 0.

    Example:
        >>> step_rng(0, 3).random() == sample_rng(0, 0, index=3).random()
        False
    """
    return np.random.default_rng(np.random.SeedSequence((seed,), spawn_key=(step, 0)))


def epoch_order(
    n: int, seed: int, epoch: int, weights: Float64[np.ndarray, " n"] | None = None
) -> Int64[np.ndarray, " n"]:
    """Return the order in which epoch `epoch` visits `n` samples; with weights, n independent draws from them.

    Args:
        n: number of samples.
        seed: of the training.
        epoch: its number.
        weights: how often each sample is drawn, relative to the others; None = each sample once.

    Example:
        >>> sorted(epoch_order(4, seed=0, epoch=1).tolist())
        [0, 1, 2, 3]
        >>> set(epoch_order(4, 0, 1, np.array([0.0, 1.0, 1.0, 0.0])).tolist()) <= {1, 2}
        True
    """
    if weights is None:
        return np.random.default_rng((seed, epoch)).permutation(n)
    rng = np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(0, 0)))
    return rng.choice(n, size=n, p=weights / weights.sum())


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Return the number of full batches; a data set smaller than one batch is one batch."""
    return max(1, n // batch_size)


def training_order(
    n: int,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world: int = 1,
    weights: Float64[np.ndarray, " n"] | None = None,
) -> list[list[int]]:
    """Return the index lists of an epoch for one process; together the processes hold each global batch once.

    A last partial batch is dropped, as the published programs do; `batch_size` is global, `weights` as in
    `epoch_order`.

    Raises:
        CallError: if a global batch cannot be split evenly over the processes.

    Example:
        >>> whole = training_order(10, 4, seed=0, epoch=0)
        >>> halves = [training_order(10, 4, 0, 0, rank, world=2) for rank in (0, 1)]
        >>> [a + b for a, b in zip(*halves)] == whole
        True
    """
    size = min(batch_size, n)
    if size < world or size % world:
        raise CallError(
            f"a global batch of {size} samples cannot be split evenly over {world} processes. "
            f"Choose --batch-size as a multiple of {world}, at most {n - n % world} here."
        )
    order, share = epoch_order(n, seed, epoch, weights), size // world
    starts = [step * size + rank * share for step in range(steps_per_epoch(n, size))]
    return [order[start : start + share].tolist() for start in starts]


def training_batches(
    dataset: ImageDataset,
    preprocess: Preprocess,
    order: list[list[int]],
    *,
    seed: int,
    epoch: int,
    augmentation: str = "none",
    captioner: Captioner | None = None,
    regions: RegionSource | None = None,
    workers: int | None = None,
) -> Iterator[Batch]:
    """Yield the batches of `order` (see `training_order`) with augmentation and captions drawn for this epoch."""
    return _loader(_Fetcher(dataset, preprocess, augmentation, captioner, seed, epoch, regions), order, workers)


def evaluation_batches(
    dataset: ImageDataset,
    preprocess: Preprocess,
    batch_size: int,
    *,
    rank: int = 0,
    world: int = 1,
    workers: int | None = None,
) -> Iterator[Batch]:
    """Yield each sample of the data set once, in order; process `rank` of `world` gets every `world`-th batch.

    Raises:
        CallError: for a batch size below one.
    """
    if batch_size < 1:
        raise CallError(f"--batch-size is {batch_size}; expected at least 1.")
    starts = range(rank * batch_size, len(dataset), world * batch_size)
    batches = [list(range(start, min(start + batch_size, len(dataset)))) for start in starts]
    return _loader(_Fetcher(dataset, preprocess), batches, workers) if batches else iter(())
