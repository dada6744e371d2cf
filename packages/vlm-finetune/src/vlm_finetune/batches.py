"""Where the loop gets its micro-batches from: images, or features that were extracted once."""

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vlm_data.captions import Captioner
from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.loading import Batch, steps_per_epoch, training_batches, training_order
from vlm_data.preprocess import Preprocess
from vlm_data.region_batches import RegionSource
from vlm_finetune.recipe import TrainingSettings
from vlm_models.inference import process_place


class TrainingBatches(Protocol):
    """The micro-batches of every epoch, the same at every call."""

    @property
    def steps(self) -> int:
        """Optimiser steps per epoch."""
        ...

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the micro-batches of this process in epoch `epoch`, from optimiser step `first_step` of it on."""
        ...


def micro_order(
    n: int,
    settings: TrainingSettings,
    epoch: int = 0,
    first_step: int = 0,
    weights: Float64[np.ndarray, " n"] | None = None,
) -> list[list[int]]:
    """Return index lists of this process, `accumulation_steps` per optimiser step.

    Args:
        n: number of samples.
        settings: batch size, seed and micro-batches.
        epoch: its number.
        first_step: optimiser step of the epoch to start from.
        weights: how often each sample is drawn, see `vlm_data.loading.epoch_order`.

    Raises:
        CallError: if there are fewer images than micro-batches, or a micro-batch cannot be shared by all processes.
    """
    rank, world = process_place()
    batch_size = min(settings.batch_size, n)
    if batch_size < settings.accumulation_steps:
        raise CallError(
            f"{n} training images cannot be cut into {settings.accumulation_steps} micro-batches. "
            f"Choose training.accumulation_steps of at most {n}."
        )
    micro = batch_size // settings.accumulation_steps
    order = training_order(n, micro, settings.seed, epoch, rank, world, weights)
    steps = steps_per_epoch(n, batch_size)
    return order[first_step * settings.accumulation_steps : steps * settings.accumulation_steps]


@dataclasses.dataclass(frozen=True)
class ImageBatches:
    """Images with labels, captions where a captioner is given, and regions where they are.

    Attributes:
        weights: how often each image is drawn; None = once per epoch.
    """

    dataset: ImageDataset
    preprocess: Preprocess
    settings: TrainingSettings
    augmentation: str = "none"
    captioner: Captioner | None = None
    regions: RegionSource | None = None
    weights: Float64[np.ndarray, " n"] | None = None

    @property
    def steps(self) -> int:
        """Optimiser steps per epoch."""
        return steps_per_epoch(len(self.dataset), min(self.settings.batch_size, len(self.dataset)))

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the micro-batches of an epoch, see `TrainingBatches`."""
        return training_batches(
            self.dataset,
            self.preprocess,
            micro_order(len(self.dataset), self.settings, epoch, first_step, self.weights),
            seed=self.settings.seed,
            epoch=epoch,
            augmentation=self.augmentation,
            captioner=self.captioner,
            regions=self.regions,
        )


@dataclasses.dataclass(frozen=True)
class FeatureBatches:
    """Features of a frozen encoder in place of images; rows of the global batch are the same as for images."""

    features: Float[Tensor, "n d"]
    labels: Int64[Tensor, " n"]
    settings: TrainingSettings

    @property
    def steps(self) -> int:
        """Optimiser steps per epoch."""
        return steps_per_epoch(len(self.labels), min(self.settings.batch_size, len(self.labels)))

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the micro-batches of an epoch, see `TrainingBatches`."""
        for indices in micro_order(len(self.labels), self.settings, epoch, first_step):
            rows = torch.tensor(indices)
            yield Batch(rows, self.features[rows], self.labels[rows])
