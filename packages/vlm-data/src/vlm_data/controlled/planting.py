"""Planting a feature into somebody's benchmark: its training images of one class get it, others do not."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image

from vlm_data.caption_labels import caption_label
from vlm_data.controlled.features import Feature, draw_feature
from vlm_data.controlled.placing import feature_box
from vlm_data.dataset import UNLABELLED, FileDataset, ImageDataset
from vlm_data.errors import DataLayoutError
from vlm_data.progress import Progress, silent
from vlm_data.tables import Regions

SPLITS = ("train", "val", "test")
LARGEST_CANVAS = 64
"""Pixels; squares up to this side are held in memory by the reader of settings."""


@dataclasses.dataclass(frozen=True)
class Plant:
    """What is planted, and where.

    Attributes:
        feature: shape and colour.
        place: one of `vlm_data.controlled.placing.PLACES`.
        size: side of the feature as a fraction of the shorter side of the image.
        seed: of random places.
    """

    feature: Feature = dataclasses.field(default_factory=Feature)
    place: str = "top-left"
    size: float = 0.25
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedSplit:
    """The images of one split with their classes, and where each would hold the feature.

    Attributes:
        split: `train`, `val` or `test`.
        dataset: the images with a class.
        labels: (n,) class of each, from its label or its caption.
        boxes: (n, 4) of the feature, in pixels.
        plant: what is planted.
        left_out: number of images without a class.
    """

    split: str
    dataset: ImageDataset
    labels: Int64[np.ndarray, " n"]
    boxes: Int64[np.ndarray, "n 4"]
    plant: Plant
    left_out: int

    def file(self, row: int, present: bool) -> str:
        """Return the file of an image with or without the feature, below the images of the settings or absolute."""
        dataset = self.dataset
        if not present and isinstance(dataset, FileDataset) and not dataset.border:
            return str(dataset.paths[row].resolve())  # as it is: a copy would say the same
        return f"{self.split}/{row:05d}{'-planted' if present else ''}.png"

    def picture(self, row: int, present: bool) -> Image.Image:
        """Return an image with or without the feature."""
        image = self.dataset.image(row)
        if not present:
            return image
        drawn = draw_feature(np.asarray(image), self.boxes[row].tolist(), self.plant.feature)
        return Image.fromarray(drawn)

    @cached_property
    def evidence_boxes(self) -> Int64[np.ndarray, "n 4"]:
        """The smallest box around the evidence of each image, zeros where there is none."""
        boxes = np.zeros((len(self.labels), 4), dtype=np.int64)
        for row in range(len(self.labels)):
            mask = self.dataset.evidence(row)
            if mask is not None and mask.any():
                down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                boxes[row] = across[0], down[0], across[-1] + 1, down[-1] + 1
        return boxes

    def select(self, rows: Int64[np.ndarray, " k"]) -> "PlantedSplit":
        """Return these images in this order."""
        return dataclasses.replace(
            self, dataset=self.dataset.select(rows.tolist()), labels=self.labels[rows], boxes=self.boxes[rows]
        )

    def regions(
        self,
        ids: Sequence[str],
        present: Bool[np.ndarray, " n"],
        class_names: Sequence[str],
    ) -> Regions:
        """Return where the feature stands or would stand, and the box of the evidence where it is known.

        The empty place is a region, too: images with the feature and without it have as many, so that the number of
        regions tells nothing.
        """
        shown = np.flatnonzero(self.evidence_boxes.any(axis=1)).tolist()
        labels: list[int] = self.labels[shown].tolist()
        words = [self.plant.feature.shape if has else "" for has in present.tolist()]
        return Regions(
            (*ids, *[ids[row] for row in shown]),
            np.concatenate([self.boxes, self.evidence_boxes[shown]]).astype(np.float64),
            labels=np.array([UNLABELLED] * len(words) + labels, dtype=np.int64),
            contents=(*words, *[class_names[label] for label in labels]),
            spurious=np.concatenate([present, np.zeros(len(shown), dtype=np.bool_)]),
        )


def planted_split(
    dataset: ImageDataset, split: str, class_names: Sequence[str], plant: Plant, progress: Progress = silent
) -> PlantedSplit:
    """Find the class of every image, and where it would hold the feature.

    An image without a label has the class that its captions name, if all that name one name the same; images without
    a class are left out.

    Args:
        dataset: one split of a benchmark.
        split: its name.
        class_names: of the benchmark.
        plant: what is planted.
        progress: called after each image.

    Raises:
        DataLayoutError: if no image has a class.
        CallError: for a wrong place or size.
        UnreadableImageError: if a file is no image.
    """
    labels = np.array([_label(dataset, row, class_names) for row in range(len(dataset))], dtype=np.int64)
    rows = np.flatnonzero(labels != UNLABELLED)
    if not len(rows):
        raise DataLayoutError(
            f"none of the {len(dataset)} images of {dataset.name}/{split} has a label or a caption that names a class. "
            "Expected a class to plant the feature into. Add labels."
        )
    kept = dataset if len(rows) == len(dataset) else dataset.select(rows.tolist())
    rng = np.random.default_rng((plant.seed, SPLITS.index(split)))
    boxes = np.empty((len(rows), 4), dtype=np.int64)
    for row in range(len(rows)):
        boxes[row] = feature_box(*kept.image_size(row), plant.place, plant.size, rng)
        progress(f"places in {split}", row + 1, len(rows))
    return PlantedSplit(split, kept, labels[rows], boxes, plant, len(dataset) - len(rows))


def _label(dataset: ImageDataset, row: int, class_names: Sequence[str]) -> int:
    label = int(dataset.labels[row])
    if label != UNLABELLED or not dataset.captions:
        return label
    named = {caption_label(caption, class_names) for caption in dataset.captions[row]} - {UNLABELLED}
    return named.pop() if len(named) == 1 else UNLABELLED


def common_side(splits: Sequence[PlantedSplit]) -> int | None:
    """Return the side of the images where all are squares of one small size, else None."""
    sizes = {one.dataset.image_size(row) for one in splits for row in range(len(one.labels))}
    width, height = sizes.pop()
    return width if not sizes and width == height <= LARGEST_CANVAS else None


def write_pictures(splits: Sequence[PlantedSplit], files: set[str], folder: Path, progress: Progress = silent) -> None:
    """Write the images with and without the feature that settings name, as PNG: nothing is lost of either.

    Args:
        splits: the images.
        files: what the settings name; absolute ones are there already.
        folder: where they belong.
        progress: called after each image.

    Raises:
        UnreadableImageError: if a file is no image.
    """
    for one in splits:
        (folder / one.split).mkdir(parents=True, exist_ok=True)
        for row in range(len(one.labels)):
            for present in (False, True):
                name = one.file(row, present)
                if name in files and not Path(name).is_absolute():
                    one.picture(row, present).save(folder / name)
            progress(f"images of {one.split}", row + 1, len(one.labels))
