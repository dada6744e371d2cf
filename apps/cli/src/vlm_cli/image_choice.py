"""Which images are explained: files of the user, or images of a benchmark by their ids."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_cli.console import Console
from vlm_cli.data_choice import DataChoice

if TYPE_CHECKING:
    from vlm_data.benchmark import Benchmark
    from vlm_data.dataset import FileDataset, ImageDataset


@dataclasses.dataclass(frozen=True)
class ImagesToExplain:
    """Images and the classes that answers are about.

    Attributes:
        dataset: the images.
        class_names: of the answers.
        templates: prompts of the zero-shot head.
        labelled: whether the class of every image is known, and one of these.
    """

    dataset: "ImageDataset"
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    labelled: bool


@dataclasses.dataclass(frozen=True)
class ImageChoice:
    """What the user said about images and classes.

    Attributes:
        files: paths of images and folders; empty for images of a test set.
        test_set: name of the test set.
        ids: of its images; empty for the first ones.
        count: how many first ones.
        texts: classes in the user's own words; empty for those of the data.
    """

    files: tuple[Path, ...]
    test_set: str
    ids: tuple[str, ...]
    count: int
    texts: tuple[str, ...]

    def load(self, data: DataChoice, specs: Sequence[str], console: Console) -> ImagesToExplain:
        """Find the images, and load the benchmark where images or class names come from it."""
        files = self._files(data, console)  # a missing file is told before anything is loaded
        if files and self.texts:
            return ImagesToExplain(files, self.texts, ("{c}",), False)
        benchmark = data.load(specs, console)
        dataset = files or images_of_benchmark(benchmark, self.test_set, self.ids, self.count)
        if self.texts:
            return ImagesToExplain(dataset, self.texts, ("{c}",), False)
        return ImagesToExplain(dataset, benchmark.class_names, benchmark.templates, is_labelled(dataset))

    def _files(self, data: DataChoice, console: Console) -> "FileDataset | None":
        from vlm_data.benchmarks import readable_files
        from vlm_data.image_files import images_of_files

        files = images_of_files(self.files) if self.files else None
        if files and data.skip_unreadable:
            files, unreadable = readable_files(files, console.progress)
            console.skipped(unreadable)
        return files


def images_of_benchmark(benchmark: "Benchmark", name: str, ids: Sequence[str], count: int) -> "ImageDataset":
    """Return images of a test set: those that are named, else the first ones.

    Args:
        benchmark: the data.
        name: of the test set.
        ids: of the images; may be empty.
        count: of the first images.

    Raises:
        CallError: for an unknown test set or id, and for a test set with classes of its own.
    """
    from vlm_data.errors import CallError, unknown_name
    from vlm_explain.rationale.sets import named_set

    evaluation = named_set(benchmark, name)
    if evaluation.classes:
        raise CallError(
            f"{evaluation.data} has classes of its own, which the head of the model does not name. Expected a test "
            "set with the classes of the benchmark; give its images as files."
        )
    dataset = evaluation.dataset
    place_of = {one: place for place, one in enumerate(dataset.ids)}
    for one in ids:
        if one not in place_of:
            raise unknown_name(f"image of {evaluation.data}", one, dataset.ids, "`vlm data show` tells what ids are.")
    return dataset.select([place_of[one] for one in ids] or range(min(count, len(dataset))))


def is_labelled(dataset: "ImageDataset") -> bool:
    """Return whether the class of every image is known."""
    from vlm_data.dataset import UNLABELLED

    return bool((dataset.labels != UNLABELLED).all())
