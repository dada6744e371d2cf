"""Batches of noise with captions, for benchmarks that are not about reading data."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from vlm_data.loading import Batch

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ("a photo of the number {c}", "the digit {c}", "an image of the number {c}", "the number {c}")


@dataclasses.dataclass
class BatchesInMemory:
    """An epoch of micro-batches that lie in memory, as the loop of `vlm-finetune` takes them.

    Attributes:
        batches: the micro-batches, the same in every epoch.
        parts: how many make an optimiser step.
    """

    batches: list[Batch]
    parts: int = 1

    @property
    def steps(self) -> int:
        """Optimiser steps of the epoch."""
        return len(self.batches) // self.parts

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the micro-batches from an optimiser step on."""
        return iter(self.batches[first_step * self.parts :])


def random_batches(size: int, rows: int, count: int, own_captions: bool) -> list[Batch]:
    """Return batches of `rows` images of noise, `size` pixels wide.

    Their captions are those of ten classes and four templates, or another one for every image.
    """
    rng, batches = np.random.default_rng(0), []
    for index in range(count):
        images = torch.from_numpy(rng.integers(0, 256, (rows, 3, size, size), dtype=np.uint8))
        labels = rng.integers(0, len(CLASSES), rows)
        endings = [f" of {index * rows + row}" if own_captions else "" for row in range(rows)]
        captions = tuple(
            TEMPLATES[template].replace("{c}", CLASSES[label] + ending)
            for template, label, ending in zip(rng.integers(0, len(TEMPLATES), rows), labels, endings, strict=True)
        )
        batches.append(Batch(torch.arange(rows), images, torch.from_numpy(labels), captions))
    return batches
