"""A benchmark: one classification problem with its in-distribution splits and its shifts."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from vlm_data.dataset import ImageDataset
from vlm_data.text import list_hash

ClassSources = tuple[tuple[int, ...], ...]
"""For each class of a test set, the classes of the benchmark that it is made of; empty: the benchmark's own classes."""


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What `vlm data ls` and `vlm data show` tell about a kind of data before it is read.

    Attributes:
        summary: one sentence.
        spec: how the user writes it, for example `folder:DIR`.
        layout: what has to be on disk, a few lines; empty for embedded data.
        licence: licence of the data, or empty where it is the user's own.
    """

    summary: str
    spec: str
    layout: str = ""
    licence: str = ""


@dataclasses.dataclass(frozen=True)
class Shift:
    """Test sets of the same classes, or of classes made of them, under another distribution.

    Attributes:
        name: short name, for example `invert` or `noise`.
        group: `natural` or `corruption`.
        datasets: one data set, or one per severity for a corruption; the score is the mean over them.
        classes: where the shift has classes of its own (200 of ImageNet's 1000; 113 made of 125 of them), the classes
            of the benchmark that each is made of. Labels are positions in this list, and a class scores the largest
            logit of its sources. Empty: labels are those of the benchmark.
    """

    name: str
    group: str
    datasets: tuple[ImageDataset, ...]
    classes: ClassSources = ()


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """One data set that a model is evaluated on, with its role.

    Attributes:
        data: unique name, `digits` for in-distribution data, `digits/invert`, `digits/noise-3` for shifts.
        role: `id` or `shift`.
        shift: name of the shift, empty for in-distribution data.
        group: group of the shift, empty for in-distribution data.
        severity: 1, 2, ... for the members of a corruption, 0 otherwise.
        classes: see `Shift`.
        metrics: see `Benchmark`.
    """

    data: str
    role: str
    dataset: ImageDataset
    shift: str = ""
    group: str = ""
    severity: int = 0
    classes: ClassSources = ()
    metrics: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A named classification problem.

    Attributes:
        name: how results call it.
        class_names: one name per label, in label order.
        templates: prompt templates with `{c}`.
        train, val, test: in-distribution splits; test is what "ID" means in results.
        shifts: test sets under other distributions.
        skipped: unreadable files that were left out on request.
        metrics: what published results on this data tell besides accuracy, by name; scored beside the usual ones.
        notes: what the user should know before reading a number: shifts that are not there, classes named alike.
        regions: file with the regions of the images of all splits (`vlm_data.tables.Regions`) and what they show, where
            the data has them.
    """

    name: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    train: ImageDataset
    val: ImageDataset
    test: ImageDataset
    shifts: tuple[Shift, ...] = ()
    skipped: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    regions: Path | None = None

    @property
    def class_names_hash(self) -> str:
        """Content hash of the class names, in order."""
        return list_hash(self.class_names)

    @property
    def templates_hash(self) -> str:
        """Content hash of the templates, in order."""
        return list_hash(self.templates)

    def evaluation_sets(self) -> Iterator[EvaluationSet]:
        """Yield the ID test set, then every data set of every shift."""
        yield EvaluationSet(self.name, "id", self.test, metrics=self.metrics)
        for shift in self.shifts:
            several = len(shift.datasets) > 1
            for severity, dataset in enumerate(shift.datasets, start=1):
                data = f"{self.name}/{shift.name}" + (f"-{severity}" if several else "")
                yield EvaluationSet(
                    data,
                    "shift",
                    dataset,
                    shift.name,
                    shift.group,
                    severity if several else 0,
                    shift.classes,
                    self.metrics,
                )

    def names_of(self, classes: ClassSources) -> tuple[str, ...]:
        """Return the names of the classes of a test set, joined by "or" where one is made of several.

        Example:
            >>> from vlm_data import load_benchmark
            >>> load_benchmark("digits").names_of(((3,), (1, 7)))
            ('three', 'one or seven')
        """
        if not classes:
            return self.class_names
        return tuple(" or ".join(self.class_names[source] for source in sources) for sources in classes)
