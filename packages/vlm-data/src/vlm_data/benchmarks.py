"""Loading a benchmark by its name."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.dataset import FileDataset, ImageDataset
from vlm_data.errors import CallError, DataLayoutError, UnreadableImageError
from vlm_data.few_shot import few_shot
from vlm_data.progress import Progress, silent
from vlm_data.registry import Registry

REGISTRY = Registry("vlm_data.datasets", "data set")


def benchmark_names() -> list[str]:
    """Return the names of embedded benchmarks and the prefixes of bring-your-own readers.

    Example:
        >>> "digits" in benchmark_names()
        True
    """
    return REGISTRY.names()


def benchmark_info(name: str) -> DatasetInfo:
    """Return what is known about a benchmark or reader before any data is read.

    Example:
        >>> benchmark_info("digits").spec
        'digits'
    """
    return REGISTRY.load(name.partition(":")[0]).INFO


def load_benchmark(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    limit: int | None = None,
    skip_unreadable: bool = False,
    shots: int | None = None,
    draw: int = 0,
    progress: Progress = silent,
) -> Benchmark:
    """Load a benchmark: class names, templates, splits and shifts; images of files stay on disk until asked for.

    Args:
        name: an embedded benchmark such as `digits`, or `folder:DIR`, `csv:FILE`, `jsonl:FILE`, `parquet:FILE`.
        root: folder that relative paths start from; the current one by default.
        seed: of everything the benchmark draws (shift sets of `digits`, the split of a folder without splits).
        limit: keep at most so many samples of every split and shift, drawn without regard to order.
        skip_unreadable: decode every file once now, leave out those that cannot be decoded and list them in
            `Benchmark.skipped`, instead of failing when one is met.
        shots: training and validation images kept of every class, see `few_shot`; `limit` is then about the rest.
        draw: number of the repetition, for `shots`.
        progress: called after each file that was decoded for `skip_unreadable`.

    Raises:
        CallError: for an unknown name, a path without a reader, a limit below one, or more shots than a class has.
        DataLayoutError: if the data is not laid out as the reader expects.

    Example:
        >>> digits = load_benchmark("digits")
        >>> len(digits.train), len(digits.val), len(digits.test)
        (797, 400, 600)
    """
    if limit is not None and limit < 1:
        raise CallError(f"--limit is {limit}; expected at least 1 sample per split.")
    kind, _, source = name.partition(":")
    if kind not in REGISTRY.names() and Path(name).exists():
        raise _without_reader(name)
    benchmark = REGISTRY.load(kind).load(source, Path(root) if root else None, seed)
    if skip_unreadable:
        benchmark = _without_unreadable(benchmark, progress)
    limited = _map_datasets(benchmark, lambda data: _limited(data, limit)) if limit else benchmark
    if not shots:
        return limited
    few = few_shot(benchmark, shots, draw)
    return dataclasses.replace(limited, train=few.train, val=few.val)


def _without_reader(path: str) -> CallError:
    suffix = Path(path).suffix.lstrip(".")
    reader = "folder" if Path(path).is_dir() else suffix if suffix in REGISTRY.names() else "csv"
    return CallError(f"{path!r} is a path; expected the name of a data set or a reader. Write {reader}:{path}")


def _map_datasets(benchmark: Benchmark, change: Callable[[ImageDataset], ImageDataset]) -> Benchmark:
    shifts = tuple(
        dataclasses.replace(shift, datasets=tuple(map(change, shift.datasets))) for shift in benchmark.shifts
    )
    train, val, test = change(benchmark.train), change(benchmark.val), change(benchmark.test)
    return dataclasses.replace(benchmark, train=train, val=val, test=test, shifts=shifts)


def _limited(dataset: ImageDataset, limit: int) -> ImageDataset:
    if len(dataset) <= limit:
        return dataset
    return dataset.select(np.sort(np.random.default_rng(0).permutation(len(dataset))[:limit]).tolist())


def _without_unreadable(benchmark: Benchmark, progress: Progress) -> Benchmark:
    skipped: list[str] = []

    def readable(dataset: ImageDataset) -> ImageDataset:
        if not isinstance(dataset, FileDataset):
            return dataset
        whole, unreadable = readable_files(dataset, progress)
        skipped.extend(unreadable)
        return whole

    benchmark = _map_datasets(benchmark, readable)
    return dataclasses.replace(benchmark, skipped=tuple(skipped))


def readable_files(dataset: FileDataset, progress: Progress = silent) -> tuple[FileDataset, list[str]]:
    """Return the images that can be decoded, and the paths of the others; every file is decoded once.

    Raises:
        DataLayoutError: if none can.
    """
    keep, unreadable = [], []
    for index in range(len(dataset)):
        try:
            dataset.image(index)
            keep.append(index)
        except UnreadableImageError:
            unreadable.append(str(dataset.paths[index]))
        progress(f"files of {dataset.name}/{dataset.split} decoded", index + 1, len(dataset))
    if not keep:
        raise DataLayoutError(
            f"none of the {len(dataset)} files of {dataset.name}/{dataset.split} can be decoded. "
            "Expected image files that Pillow can open; check the paths."
        )
    return dataset.select(keep), unreadable
