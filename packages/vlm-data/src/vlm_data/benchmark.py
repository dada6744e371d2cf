"""A benchmark: one classification problem with its in-distribution splits and its shifts."""

import dataclasses
from collections.abc import Iterator

from vlm_data.dataset import ImageDataset
from vlm_data.text import list_hash


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
    """Test sets of the same classes under another distribution.

    Attributes:
        name: short name, for example `invert` or `noise`.
        group: `natural` or `corruption`.
        datasets: one data set, or one per severity for a corruption; the score is the mean over them.
    """

    name: str
    group: str
    datasets: tuple[ImageDataset, ...]


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """One data set that a model is evaluated on, with its role.

    Attributes:
        data: unique name, `digits` for in-distribution data, `digits/invert`, `digits/noise-3` for shifts.
        role: `id` or `shift`.
        shift: name of the shift, empty for in-distribution data.
        group: group of the shift, empty for in-distribution data.
        severity: 1, 2, ... for the members of a corruption, 0 otherwise.
    """

    data: str
    role: str
    dataset: ImageDataset
    shift: str = ""
    group: str = ""
    severity: int = 0


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
    """

    name: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    train: ImageDataset
    val: ImageDataset
    test: ImageDataset
    shifts: tuple[Shift, ...] = ()
    skipped: tuple[str, ...] = ()

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
        yield EvaluationSet(self.name, "id", self.test)
        for shift in self.shifts:
            several = len(shift.datasets) > 1
            for severity, dataset in enumerate(shift.datasets, start=1):
                data = f"{self.name}/{shift.name}" + (f"-{severity}" if several else "")
                yield EvaluationSet(data, "shift", dataset, shift.name, shift.group, severity if several else 0)
