"""Settings made of a benchmark: its images, with a feature planted into some of them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from vlm_data.benchmark import Benchmark
from vlm_data.controlled.correlation import correlated_counts, cramers_v
from vlm_data.controlled.grid import Draft, Grid, joined_regions, setting_generator, setting_name
from vlm_data.controlled.planting import SPLITS, Plant, PlantedSplit, common_side, planted_split, write_pictures
from vlm_data.controlled.selection import draw_cells
from vlm_data.controlled.setting import Samples, Setting
from vlm_data.progress import Progress, silent


class PlantedBenchmark:
    """The settings of a grid made of one benchmark, and the images that they need.

    Training images keep their classes and numbers; those that get the feature are drawn so that Cramer's V of class and
    feature is as wanted. In validation and test set half of every class gets it, the same half in all settings.

    Args:
        benchmark: anybody's; its shifts and groups are left behind.
        plant: what is planted, and where.
        grid: values of V, classes, seeds; of more images than its sizes so many are drawn.
        progress: called after each image.

    Raises:
        CallError: for a wrong place, size or grid, or a class without training images.
        DataLayoutError: if a split has no image with a class.
        UnreadableImageError: if a file is no image.
    """

    def __init__(self, benchmark: Benchmark, plant: Plant, grid: Grid, progress: Progress = silent) -> None:
        self.benchmark, self.plant, self.grid = benchmark, plant, grid
        names = benchmark.class_names
        self._combinations = grid.settings(names)  # wrong ones are refused before files are opened
        sizes = {"train": grid.n, "val": grid.val, "test": grid.test}
        datasets = {"train": benchmark.train, "val": benchmark.val, "test": benchmark.test}
        self.splits = [
            _at_most(planted_split(datasets[split], split, names, plant, progress), sizes[split], grid.data_seed)
            for split in SPLITS
        ]
        self._ids = _unique_ids(self.splits)
        self._canvas = common_side(self.splits)
        self._held = [_half(one, grid.data_seed) for one in self.splits[1:]]

    @property
    def left_out(self) -> int:
        """Number of images that have no class."""
        return sum(one.left_out for one in self.splits)

    def drafts(self) -> list[Draft]:
        """Return every setting of the grid."""
        return [self._draft(*combination) for combination in self._combinations]

    def pictures(self, drafts: Sequence[Draft], progress: Progress = silent) -> Callable[[Path], None]:
        """Return what writes the images that these settings name into a folder."""
        files = {file for draft in drafts for file in draft.samples.files}
        return lambda folder: write_pictures(self.splits, files, folder, progress)

    def pool(self, drafts: Sequence[Draft]) -> dict[str, Any]:
        """Return what the images are made of: they serve these settings and no others."""
        return {
            "source": self.benchmark.name,
            "fingerprints": [one.dataset.fingerprint for one in self.splits],
            "feature": str(self.plant.feature),
            "place": self.plant.place,
            "size": self.plant.size,
            "seed": self.plant.seed,
            "settings": [draft.setting.name for draft in drafts],
        }

    def _draft(self, spurious: str, v: float, seed: int) -> Draft:
        names, train = self.benchmark.class_names, self.splits[0]
        label = names.index(spurious)
        source = re.sub(r"[^\w.]+", "-", self.benchmark.name).strip("-")
        name = setting_name(f"planted-{source}", spurious, v, seed)
        counts = correlated_counts(np.bincount(train.labels, minlength=len(names)).tolist(), label, v)
        present = _present(train.labels, counts, setting_generator(name))
        setting = Setting(
            name=name,
            source=self.benchmark.name,
            feature=str(self.plant.feature),
            spurious_class=spurious,
            class_names=names,
            templates=self.benchmark.templates,
            v=v,
            achieved=cramers_v(counts),
            seed=seed,
            canvas=self._canvas,
        )
        return self._with_tables(setting, [present, *self._held])

    def _with_tables(self, setting: Setting, present: Sequence[Bool[np.ndarray, " n"]]) -> Draft:
        parts = list(zip(self.splits, self._ids, present, strict=True))
        captions = [one.dataset.captions or ((),) * len(one.labels) for one in self.splits]
        samples = Samples(
            tuple(name for ids in self._ids for name in ids),
            tuple(one.split for one in self.splits for _ in one.labels),
            np.concatenate([one.labels for one in self.splits]),
            tuple(one.file(row, bool(has)) for one, _, chosen in parts for row, has in enumerate(chosen)),
            tuple(texts for split in captions for texts in split),
            np.concatenate(present),
        )
        tables = [one.regions(ids, chosen, setting.class_names) for one, ids, chosen in parts]
        return Draft(setting, samples, joined_regions(tables, setting.name))


def _present(
    labels: Int64[np.ndarray, " n"], counts: Int64[np.ndarray, "classes 2"], rng: np.random.Generator
) -> Bool[np.ndarray, " n"]:
    """Draw which images get the feature, given how many of each class do."""
    rows = np.arange(len(labels))
    only_present = counts * [0, 1]
    chosen = draw_cells(labels, np.ones(len(labels), dtype=np.bool_), rows, only_present, rng)
    return np.isin(rows, chosen)


def _half(one: PlantedSplit, seed: int) -> Bool[np.ndarray, " n"]:
    """Draw half of every class; of an odd number the larger or the smaller half, by the draw."""
    rng = np.random.default_rng((seed, 1 + SPLITS.index(one.split)))
    sizes = np.bincount(one.labels)
    half = (sizes + rng.integers(2, size=len(sizes))) // 2
    return _present(one.labels, np.stack([sizes - half, half], axis=1), rng)


def _at_most(one: PlantedSplit, count: int, seed: int) -> PlantedSplit:
    if len(one.labels) <= count:
        return one
    rng = np.random.default_rng((seed, len(SPLITS) + 1 + SPLITS.index(one.split)))
    return one.select(np.sort(rng.permutation(len(one.labels))[:count]))


def _unique_ids(splits: Sequence[PlantedSplit]) -> list[tuple[str, ...]]:
    """Return the ids of the benchmark, behind the split where two splits have the same."""
    ids = [one.dataset.ids for one in splits]
    if len({name for names in ids for name in names}) == sum(map(len, ids)):
        return list(ids)
    return [tuple(f"{one.split}/{name}" for name in names) for one, names in zip(splits, ids, strict=True)]
