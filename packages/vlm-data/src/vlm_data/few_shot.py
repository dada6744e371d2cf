"""A few images per class: the same ones for the same draw, whatever the order of classes and files."""

import dataclasses
import hashlib

import numpy as np
from jaxtyping import Int64

from vlm_data.benchmark import Benchmark
from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError, listing


def few_shot(benchmark: Benchmark, shots: int, draw: int = 0) -> Benchmark:
    """Return the benchmark with `shots` training and `shots` validation images of every class.

    They come from its training and its validation split, which share no image; test set and shifts stay whole (the
    protocol of FLYP, Goyal et al. 2023, for any number of classes). The images of a class depend on the draw, the
    split, the name of the class and the ids of its images, and on nothing else: not on the order or the number of
    other classes, and not on captions.

    Args:
        benchmark: with labels for both splits.
        shots: images per class and split.
        draw: number of the repetition; equal numbers give equal images.

    Raises:
        CallError: if a class has fewer images than that in one of the splits.

    Example:
        >>> from vlm_data import load_benchmark
        >>> few = few_shot(load_benchmark("digits"), shots=4)
        >>> len(few.train), len(few.val), np.bincount(few.train.labels).tolist()
        (40, 40, [4, 4, 4, 4, 4, 4, 4, 4, 4, 4])
    """
    train, val = (_drawn(split, benchmark.class_names, shots, draw) for split in (benchmark.train, benchmark.val))
    return dataclasses.replace(benchmark, train=train, val=val)


def _drawn(dataset: ImageDataset, class_names: tuple[str, ...], shots: int, draw: int) -> ImageDataset:
    members = [np.flatnonzero(dataset.labels == label) for label in range(len(class_names))]
    short = [f"{name} ({len(rows)})" for name, rows in zip(class_names, members, strict=True) if len(rows) < shots]
    if short:
        raise CallError(
            f"{shots} images of every class cannot be drawn from the {dataset.split} split of {dataset.name}: "
            f"{len(short)} of {len(class_names)} classes have fewer, {listing(short)}. Expected {shots} with a label "
            "in each; choose a smaller data.shots, or add images."
        )
    chosen = [
        _of_class(dataset, rows, shots, (draw, *_words(dataset.split, name)))
        for name, rows in zip(class_names, members, strict=True)
    ]
    return dataset.select(np.sort(np.concatenate(chosen)).tolist())


def _of_class(
    dataset: ImageDataset, rows: Int64[np.ndarray, " n"], shots: int, entropy: tuple[int, ...]
) -> Int64[np.ndarray, " k"]:
    by_id = sorted(rows.tolist(), key=lambda row: dataset.ids[row])
    return np.array(by_id)[np.random.default_rng(entropy).permutation(len(by_id))[:shots]]


def _words(*texts: str) -> list[int]:
    """Return texts as whole numbers that a generator can be seeded with."""
    return np.frombuffer(hashlib.sha256(repr(texts).encode()).digest(), dtype="<u4").tolist()
