"""Settings made of photographs with boxed objects: the feature is a category that goes with a class by selection."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vlm_data.asset import asset_lines
from vlm_data.controlled.annotated_photos import AnnotatedPhotos, read_annotated_photos
from vlm_data.controlled.correlation import cramers_v
from vlm_data.controlled.grid import Draft, Grid, joined_regions, setting_generator, setting_name
from vlm_data.controlled.photo_pool import PhotoPool, photo_pool
from vlm_data.controlled.selection import balanced_counts, largest_counts
from vlm_data.controlled.setting import Samples, Setting
from vlm_data.errors import CallError, DataLayoutError, listing

_SPLITS = ("train", "val", "test")
_KEPT = {"test": 0.2, "val": 0.1}
"""Shares of every cell that are evaluated on where there are no photographs for evaluation alone."""
_HALF = {"val": 0.5}
"""Of the photographs for evaluation, as in the RaVL paper."""


@dataclasses.dataclass(frozen=True)
class PhotoFiles:
    """Where photographs lie and what is known about them.

    Attributes:
        images: folder of the files.
        instances: JSON file of boxes and categories.
        captions: JSON file of captions, or None.
    """

    images: Path
    instances: Path
    captions: Path | None = None


class PhotoSettings:
    """The settings of a grid made of photographs; these stay where they are.

    A photograph belongs to the one class that it shows; those of several classes, or none, are left out. The training
    set has classes of equal size and is the largest that gives the wanted Cramer's V, up to `grid.n` images. Validation
    and test set are the same in all settings: of every class as many photographs with the feature as without.

    Args:
        training: photographs to train on; without `evaluation`, 20 % of each cell are kept to test, 10 % to validate.
        evaluation: photographs to validate and test on, half each; a published test split, for example.
        classes: categories that are told apart, in label order.
        feature: category that goes with one of them.
        grid: values of V, classes that the feature goes with, seeds and sizes.

    Raises:
        CallError: for categories that are not there or do not fit together, and cells without photographs.
        DataLayoutError: for files that are not in the format, or photographs that are not there.
    """

    def __init__(
        self,
        training: PhotoFiles,
        evaluation: PhotoFiles | None,
        classes: Sequence[str],
        feature: str,
        grid: Grid,
    ) -> None:
        self.classes, self.feature, self.grid = tuple(classes), feature, grid
        self._combinations = grid.settings(self.classes)  # wrong ones are refused before large files are read
        self.pools = _pools(training, evaluation, self.classes, feature, grid.data_seed)
        self._held = [_evaluated(self.pools[split], split, self.classes, grid) for split in ("val", "test")]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the photographs."""
        pool = self.pools["train"]
        used, found = len(pool.rows), len(pool.photos.files)
        notes = [f"{used} of {found} photographs show exactly one of the classes; the others are left out."]
        without = sum(not pool.photos.captions[row] for row in pool.rows) if pool.photos.captions else 0
        if without:
            notes.append(f"{without} photographs have no caption; their class name in a template describes them.")
        if pool.photos.unboxed:
            notes.append(f"{pool.photos.unboxed} boxes have no area; they are no regions.")
        return tuple(notes)

    def drafts(self) -> Iterator[Draft]:
        """Make every setting of the grid.

        Raises:
            CallError: if there are no photographs for a wanted strength.
        """
        for spurious, v, seed in self._combinations:
            yield self._draft(spurious, v, seed)

    def _draft(self, spurious: str, v: float, seed: int) -> Draft:
        pool = self.pools["train"]
        counts = largest_counts(pool.available("train"), self.classes.index(spurious), v, self.grid.n)
        name = setting_name("coco", spurious, v, seed)
        setting = Setting(
            name=name,
            source="coco",
            feature=self.feature,
            spurious_class=spurious,
            class_names=self.classes,
            templates=asset_lines("coco/templates.txt"),
            v=v,
            achieved=cramers_v(counts),
            seed=seed,
            images=str(pool.folder),
        )
        return _put_together(setting, [pool.draw("train", counts, setting_generator(name)), *self._held])


def _pools(
    training: PhotoFiles, evaluation: PhotoFiles | None, classes: Sequence[str], feature: str, seed: int
) -> dict[str, PhotoPool]:
    """Return where the photographs of each split are drawn from."""

    def pool(files: PhotoFiles, shares: dict[str, float], rest: str) -> PhotoPool:
        photos, folder = _read(files), files.images.expanduser().resolve()
        found = photo_pool(photos, folder, classes, feature, shares, rest, seed)
        _check_files(found, files)
        return found

    if evaluation is None:
        return dict.fromkeys(("train", "val", "test"), pool(training, _KEPT, "train"))
    both = pool(evaluation, _HALF, "test")
    return {"train": pool(training, {}, "train"), "val": both, "test": both}


def _read(files: PhotoFiles) -> AnnotatedPhotos:
    if not files.images.expanduser().is_dir():
        raise DataLayoutError(
            f"there is no folder {files.images}. Expected the photographs that {files.instances} describes. "
            "Name their folder."
        )
    return read_annotated_photos(files.instances.expanduser(), files.captions and files.captions.expanduser())


def _check_files(pool: PhotoPool, files: PhotoFiles) -> None:
    missing = [file for file in pool.files if not Path(file).is_file()]
    if missing:
        raise DataLayoutError(
            f"{len(missing)} of {len(pool.files)} photographs that {files.instances} describes are not in "
            f"{files.images}: {listing([Path(file).name for file in missing], most=3)}. Expected all of them. Name the "
            "folder that holds them."
        )


def _evaluated(pool: PhotoPool, split: str, classes: Sequence[str], grid: Grid) -> PhotoPool:
    available = pool.available(split)
    counts = balanced_counts(available, grid.val if split == "val" else grid.test)
    lacking = [name for name, (count, _) in zip(classes, counts.tolist(), strict=True) if not count]
    if lacking:
        first = classes.index(lacking[0])
        raise CallError(
            f"{split} would have no photographs of {listing(lacking)}: of {lacking[0]!r} it could have "
            f"{available[first, 0]} without the feature and {available[first, 1]} with it. Expected one of each at "
            "least. Choose another feature or other classes, or name more photographs."
        )
    return pool.draw(split, counts, np.random.default_rng((grid.data_seed, split == "test")))


def _put_together(setting: Setting, parts: Sequence[PhotoPool]) -> Draft:
    """Put together the samples and regions of train, val and test."""
    ids = [
        tuple(f"{split}/{pool.photos.files[row]}" for row in pool.rows)
        for split, pool in zip(_SPLITS, parts, strict=True)
    ]
    splits = [split for split, pool in zip(_SPLITS, parts, strict=True) for _ in pool.rows]
    samples = Samples(
        tuple(itertools.chain(*ids)),
        tuple(splits),
        np.concatenate([pool.labels for pool in parts]),
        tuple(file for pool in parts for file in pool.files),
        tuple(texts for pool in parts for texts in pool.captions),
        np.concatenate([pool.feature for pool in parts]),
    )
    tables = [pool.regions(names) for pool, names in zip(parts, ids, strict=True)]
    return Draft(setting, samples, joined_regions(tables, setting.name))
