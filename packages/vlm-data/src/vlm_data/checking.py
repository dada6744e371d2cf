"""Is a benchmark whole: what would stop a run, and what would make its numbers mislead."""

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from vlm_data.benchmark import Benchmark, ClassSources
from vlm_data.dataset import UNLABELLED, FileDataset, ImageDataset
from vlm_data.errors import UnreadableImageError, listing
from vlm_data.evidence_counts import EvidenceCounts
from vlm_data.progress import Progress, silent
from vlm_data.published import same_names

TINY_CLASS = 5
"""A class with fewer images than this says little about a model, in training and in evaluation."""
LISTED_CLASSES = 12
"""Up to so many classes the summary gives the count of each."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing found out about a benchmark.

    Attributes:
        severity: `error` (a run would stop or confuse classes), `warning` (numbers may mislead) or `info`.
        where: data set and split, for example `digits test`, shift, for example `digits/invert`, or benchmark.
        message: what was found, in one sentence or two.
    """

    severity: str
    where: str
    message: str


@dataclasses.dataclass
class _Contents:
    """What reading every image of a benchmark showed."""

    unreadable: dict[str, list[str]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    sizes: dict[str, set[tuple[int, int]]] = dataclasses.field(default_factory=lambda: defaultdict(set))
    copies: dict[bytes, list[tuple[str, int]]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    evidence: dict[str, EvidenceCounts] = dataclasses.field(default_factory=lambda: defaultdict(EvidenceCounts))


def check(benchmark: Benchmark, progress: Progress = silent) -> list[Finding]:
    """Read every image once and report what is wrong, what is doubtful and what there is.

    Two images are the same when their files (pixels, for data held in memory) are the same byte for byte.

    Args:
        benchmark: what to check.
        progress: called after each image.

    Returns:
        Findings, errors first, then warnings, then a summary of every data set.

    Example:
        >>> from vlm_data import load_benchmark
        >>> check(load_benchmark("digits", limit=40))[-1]
        Finding(severity='info', where='digits/blur-5', message='40 images, 32 x 32 pixels; zero ...')
    """
    datasets = dict(_datasets(benchmark))
    contents = _read(datasets, progress)
    told = set(benchmark.notes) - set(same_names(benchmark.class_names))
    findings = [*_class_names(benchmark), *(Finding("info", benchmark.name, note) for note in sorted(told))]
    own = {evaluated.data: evaluated.classes for evaluated in benchmark.evaluation_sets() if evaluated.classes}
    for where, dataset in datasets.items():
        names = benchmark.names_of(own.get(where, ()))
        findings += _readable(where, dataset, contents)
        findings += _classes(where, dataset, names, is_shift=dataset.name != benchmark.name)
        findings += [Finding(severity, where, text) for severity, text in contents.evidence[where].problems()]
        findings.append(_summary(where, dataset, contents, names))
    findings += _duplicates(datasets, own, contents)
    return sorted(findings, key=lambda finding: ("error", "warning", "info").index(finding.severity))


def _datasets(benchmark: Benchmark) -> Iterator[tuple[str, ImageDataset]]:
    for dataset in (benchmark.train, benchmark.val):
        yield f"{dataset.name} {dataset.split}", dataset
    for evaluated in benchmark.evaluation_sets():
        yield evaluated.data + (" test" if evaluated.role == "id" else ""), evaluated.dataset


def _read(datasets: dict[str, ImageDataset], progress: Progress) -> _Contents:
    contents, done, total = _Contents(), 0, sum(len(dataset) for dataset in datasets.values())
    for where, dataset in datasets.items():
        for index in range(len(dataset)):
            try:
                image = dataset.image(index)
                data = dataset.paths[index].read_bytes() if isinstance(dataset, FileDataset) else image.tobytes()
                contents.sizes[where].add(image.size)
                contents.copies[hashlib.sha256(data).digest()].append((where, index))
                contents.evidence[where].add(dataset, index)
            except UnreadableImageError:
                contents.unreadable[where].append(dataset.ids[index])
            done += 1
            progress("images checked", done, total)
    return contents


def _class_names(benchmark: Benchmark) -> Iterator[Finding]:
    twice = [name for name, count in Counter(benchmark.class_names).items() if count > 1]
    if twice:
        known = same_names(benchmark.class_names)[0] in benchmark.notes  # published data is as it is
        yield Finding(
            "warning" if known else "error",
            benchmark.name,
            f"class names are used by several classes: {listing(twice)}. No prompt can tell these apart.",
        )
    alike = Counter(name.strip().lower() for name in set(benchmark.class_names))
    close = [name for name, count in alike.items() if count > 1]
    if close:
        yield Finding("warning", benchmark.name, f"class names differ in capitals or spaces only: {listing(close)}.")


def _readable(where: str, dataset: ImageDataset, contents: _Contents) -> Iterator[Finding]:
    if len(dataset) == 0:
        yield Finding("error", where, "no images.")
    broken = contents.unreadable[where]
    if broken:
        yield Finding("error", where, f"{len(broken)} of {len(dataset)} images cannot be decoded: {listing(broken)}.")


def _classes(where: str, dataset: ImageDataset, class_names: Sequence[str], is_shift: bool) -> Iterator[Finding]:
    labels = dataset.labels[dataset.labels != UNLABELLED]
    if dataset.captions or len(labels) == 0:  # a caption as class has few images by nature
        return
    counts = np.bincount(labels, minlength=len(class_names))
    least = 1 if is_shift else 0  # a shift may have fewer classes
    names = [class_names[label] for label in np.flatnonzero((counts >= least) & (counts < TINY_CLASS)).tolist()]
    if names:
        few = f"{len(names)} of {len(counts)} classes have fewer than {TINY_CLASS} images: {listing(names)}."
        yield Finding("warning", where, few)


def _summary(where: str, dataset: ImageDataset, contents: _Contents, class_names: Sequence[str]) -> Finding:
    sizes = sorted(contents.sizes[where])
    span = sizes[:1] + sizes[-1:] if len(sizes) > 1 else sizes
    pixels = " to ".join(f"{width} x {height}" for width, height in span)
    labels = dataset.labels[dataset.labels != UNLABELLED]
    parts = [f"{len(dataset)} images" + (f", {pixels} pixels" if pixels else "")]
    if len(labels):
        counts = np.bincount(labels, minlength=len(class_names))
        each = [f"{name} {count}" for name, count in zip(class_names, counts, strict=True)]
        some = f"{counts.min()} to {counts.max()} in each of {len(class_names)} classes"
        parts.append(", ".join(each) if len(each) <= LISTED_CLASSES else some)
    if len(labels) < len(dataset):
        parts.append(f"{len(dataset) - len(labels)} without a label")
    if dataset.captions:
        parts.append(f"{sum(len(captions) for captions in dataset.captions)} captions")
    evidence = contents.evidence[where].summary()
    if evidence:
        parts.append(evidence)
    return Finding("info", where, "; ".join(parts))


def _duplicates(
    datasets: dict[str, ImageDataset], own: dict[str, ClassSources], contents: _Contents
) -> Iterator[Finding]:
    shared: dict[tuple[str, str], list[str]] = defaultdict(list)
    for places in contents.copies.values():
        if len(places) < 2:
            continue
        names = {where: datasets[where].ids[index] for where, index in reversed(places)}  # the first of each data set
        for second, first in combinations(names, 2):
            if names[first] != names[second]:  # one id: a shift that left its clean original as it was
                shared[first, second].append(f"{names[second]} = {names[first]}")
        labels = [(own.get(where), int(datasets[where].labels[index])) for where, index in places]
        sources = [{label} if classes is None else set(classes[label]) for classes, label in labels if label >= 0]
        if sources and not set.intersection(*sources):  # a class of a shift may be made of several
            copies = listing([datasets[where].ids[index] for where, index in places])
            yield Finding("warning", places[0][0], f"the same image has different labels: {copies}.")
    for (first, second), pairs in shared.items():
        yield Finding(
            "warning", second, f"{len(pairs)} of {len(datasets[second])} images are also in {first}: {listing(pairs)}."
        )
