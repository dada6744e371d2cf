"""Photographs that can be used in a setting: they show exactly one of the classes, with the feature or without it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from vlm_data.controlled.annotated_photos import AnnotatedPhotos
from vlm_data.controlled.selection import cell_sizes, draw_cells, split_cells
from vlm_data.dataset import UNLABELLED
from vlm_data.errors import CallError, listing
from vlm_data.tables import Regions


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoPool:
    """Photographs that show exactly one of some classes, with their split.

    Attributes:
        photos: all that were read.
        folder: where the files lie.
        rows: (n,) positions in `photos` of those that can be used.
        labels: (n,) class of each.
        feature: (n,) does it show the feature.
        splits: (n,) `train`, `val` or `test`.
        class_of: (c,) class of every category of `photos`, `UNLABELLED` where it is none.
        feature_category: number of the feature among the categories of `photos`.
    """

    photos: AnnotatedPhotos
    folder: Path
    rows: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    feature: Bool[np.ndarray, " n"]
    splits: np.ndarray
    class_of: Int64[np.ndarray, " c"]
    feature_category: int

    def available(self, split: str) -> Int64[np.ndarray, "classes 2"]:
        """Return the number of photographs of each class without and with the feature in a split."""
        chosen = self.splits == split
        return cell_sizes(self.labels[chosen], self.feature[chosen], int(self.class_of.max()) + 1)

    def draw(self, split: str, counts: Int64[np.ndarray, "classes 2"], rng: np.random.Generator) -> "PhotoPool":
        """Return so many photographs of each cell of a split."""
        chosen = draw_cells(self.labels, self.feature, np.flatnonzero(self.splits == split), counts, rng)
        return dataclasses.replace(
            self,
            rows=self.rows[chosen],
            labels=self.labels[chosen],
            feature=self.feature[chosen],
            splits=self.splits[chosen],
        )

    @property
    def files(self) -> list[str]:
        """The file of every photograph, absolute."""
        return [str(self.folder / self.photos.files[row]) for row in self.rows]

    @property
    def captions(self) -> tuple[tuple[str, ...], ...]:
        """The captions of every photograph, none each where none were read."""
        return tuple(self.photos.captions[row] if self.photos.captions else () for row in self.rows)

    def regions(self, ids: Sequence[str]) -> Regions:
        """Return every object of these photographs as a region, by the id each photograph has."""
        name_of = dict(zip(self.rows.tolist(), ids, strict=True))
        objects = self.photos.objects_of(self.rows)
        category = self.photos.category_of[objects]
        return Regions(
            tuple(name_of[row] for row in self.photos.image_of[objects].tolist()),
            self.photos.boxes[objects],
            labels=self.class_of[category],
            contents=tuple(self.photos.categories[number] for number in category),
            spurious=category == self.feature_category,
        )


def photo_pool(
    photos: AnnotatedPhotos,
    folder: Path,
    classes: Sequence[str],
    feature: str,
    shares: Mapping[str, float],
    rest: str,
    seed: int,
) -> PhotoPool:
    """Return the photographs that show exactly one of the classes, and whether they show the feature.

    Photographs of several classes, or none, are left out: what a right answer is would not be defined.

    Args:
        photos: what was read.
        folder: where the files lie.
        classes: categories that are told apart.
        feature: category that is planted by selection.
        shares: fraction of every cell (class, feature) that each split gets.
        rest: the split of the others.
        seed: of the division.

    Raises:
        CallError: for an unknown category, fewer than two classes, one twice, or the feature among them.
    """
    numbers = [photos.category(name) for name in classes]
    number = photos.category(feature)
    if len(set(numbers)) < max(2, len(numbers)) or number in numbers:
        raise CallError(
            f"the classes are {listing(classes)} and the feature is {feature!r}; expected two different categories "
            "or more to tell apart, and another one as the feature. Name others."
        )
    class_of = np.full(len(photos.categories), UNLABELLED, dtype=np.int64)
    class_of[numbers] = np.arange(len(numbers))
    shown = photos.present[:, numbers]
    rows = np.flatnonzero(shown.sum(axis=1) == 1)
    labels, present = shown[rows].argmax(axis=1).astype(np.int64), photos.present[rows, number]
    splits = split_cells(labels, present, shares, rest, np.random.default_rng(seed))
    return PhotoPool(photos, folder, rows, labels, present, splits, class_of, number)
