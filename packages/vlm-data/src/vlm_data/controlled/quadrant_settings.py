"""Settings of quadrant canvases: a pool of canvases shared by all of a grid, and the choice from it for each."""

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from PIL import Image

from vlm_data.controlled.canvases import EMPTY, QUADRANTS, Canvases, compose, draw_canvases, quadrant_boxes
from vlm_data.controlled.correlation import correlated_counts, cramers_v
from vlm_data.controlled.features import Feature
from vlm_data.controlled.grid import Draft, Grid, setting_generator, setting_name
from vlm_data.controlled.objects import Objects
from vlm_data.controlled.setting import Samples, Setting
from vlm_data.dataset import UNLABELLED
from vlm_data.errors import CallError, DataLayoutError, listing
from vlm_data.progress import Progress, silent
from vlm_data.tables.regions import Regions
from vlm_data.text import fill

SPLITS = ("train", "val", "test")
SPARE = 1.5
"""So many times the canvases that one setting needs at most are in the pool, with and without the feature."""
_DIGITS = 5  # of the number in the name of a file


@dataclasses.dataclass(frozen=True)
class QuadrantPool:
    """Canvases of all settings of a grid; validation and test canvases are those of every setting.

    The pool is the same for every feature and every choice of settings, and drawn once from the seed 0.

    Attributes:
        objects: what the canvases show.
        grid: the settings; the pool depends on its sizes only.
        feature: what is planted.
        canvas: side in pixels; None: that of the objects.

    Raises:
        CallError: for a canvas of odd or tiny side, or fewer images than two of each class.
        DataLayoutError: if a split of the objects lacks a class.
    """

    objects: Objects
    grid: Grid
    feature: Feature
    canvas: int | None = None

    def __post_init__(self) -> None:
        if self.side % 2 or self.side < 8:
            raise CallError(f"the canvas is {self.side} pixels wide; expected an even number from 8 on.")
        least = 2 * len(self.objects.class_names)
        for split, n in self.sizes.items():
            if n < least:
                raise CallError(
                    f"{split} has {n} images; expected at least {least}, one with and one without the feature for "
                    f"each of {len(self.objects.class_names)} classes."
                )
            shown = set(self.objects.splits[split].labels.tolist())
            lacking = [name for label, name in enumerate(self.objects.class_names) if label not in shown]
            if lacking:
                raise DataLayoutError(
                    f"the {split} part of {self.objects.name} shows no {listing(lacking)}. Expected objects of every "
                    "class in every split. Take the whole data set."
                )

    @property
    def side(self) -> int:
        """Side of a canvas in pixels."""
        return self.objects.canvas if self.canvas is None else self.canvas

    @property
    def sizes(self) -> dict[str, int]:
        """Images of a setting, by split."""
        return {"train": self.grid.n, "val": self.grid.val, "test": self.grid.test}

    def class_sizes(self, split: str) -> Int64[np.ndarray, " classes"]:
        """Return images of each class in a split: all alike, the first classes one more where it does not divide."""
        each, more = divmod(self.sizes[split], len(self.objects.class_names))
        return each + (np.arange(len(self.objects.class_names)) < more)

    @cached_property
    def canvases(self) -> dict[str, Canvases]:
        """What the canvases of each split show; the feature is in half of those of each class."""
        drawn = {}
        for number, split in enumerate(SPLITS):
            sizes = self.class_sizes(split)
            if split == "train":
                counts = np.repeat(np.ceil(SPARE * sizes).astype(np.int64)[:, None], 2, axis=1)
            else:
                counts = correlated_counts(sizes, 0, 0.0)
            rng = np.random.default_rng((0, number))
            drawn[split] = draw_canvases(self.objects.splits[split].labels, counts, rng)
        return drawn

    @cached_property
    def captions(self) -> dict[str, list[str]]:
        """The text of each canvas: one of those of the objects for training, none otherwise."""
        labels = self.canvases["train"].labels
        texts = [[fill(text, name) for text in self.objects.captions] for name in self.objects.class_names]
        drawn = np.random.default_rng((0, len(SPLITS))).integers(0, len(self.objects.captions), len(labels))
        return {"train": [texts[label][text] for label, text in zip(labels, drawn, strict=True)]}

    def draw_pictures(self, folder: Path, progress: Progress = silent) -> None:
        """Write every canvas as PNG, `FOLDER/SPLIT/NUMBER.png`."""
        total, done = sum(map(len, self.canvases.values())), 0
        for split, canvases in self.canvases.items():
            (folder / split).mkdir(parents=True)
            pictures = compose(canvases, self.objects.splits[split].images, self.feature, self.side)
            for number, picture in enumerate(pictures):
                Image.fromarray(picture).save(folder / split / f"{number:0{_DIGITS}}.png")
                done += 1
                progress("pictures drawn", done, total)

    @property
    def facts(self) -> dict[str, Any]:
        """What the pictures depend on."""
        return {
            "source": self.objects.name,
            "objects": self.objects.fingerprint,
            "feature": str(self.feature),
            "canvas": self.side,
            "sizes": self.sizes,
        }


def quadrant_drafts(pool: QuadrantPool) -> Iterator[Draft]:
    """Make the settings of the grid of a pool, each by a generator of its own.

    The training set of a setting has the table of counts of `correlated_counts`, its canvases are drawn from the pool
    without replacement.
    """
    for spurious_class, v, seed in pool.grid.settings(pool.objects.class_names):
        yield _draft(pool, spurious_class, v, seed)


def _draft(pool: QuadrantPool, spurious_class: str, v: float, seed: int) -> Draft:
    objects = pool.objects
    name = setting_name(objects.name, spurious_class, v, seed)
    counts = correlated_counts(pool.class_sizes("train"), objects.class_names.index(spurious_class), v)
    chosen = {split: np.arange(len(canvases)) for split, canvases in pool.canvases.items()}
    chosen["train"] = _choose(pool.canvases["train"], counts, setting_generator(name))
    setting = Setting(
        name,
        objects.name,
        str(pool.feature),
        spurious_class,
        objects.class_names,
        objects.templates,
        v,
        cramers_v(counts),
        seed,
        canvas=pool.side,
    )
    shown = {split: canvases.select(chosen[split]) for split, canvases in pool.canvases.items()}
    ids = [f"{split}/{row:0{_DIGITS}}" for split, rows in chosen.items() for row in rows.tolist()]
    captions = pool.captions["train"]
    samples = Samples(
        tuple(ids),
        tuple(split for split, canvases in shown.items() for _ in range(len(canvases))),
        np.concatenate([canvases.labels for canvases in shown.values()]),
        tuple(f"{name}.png" for name in ids),
        tuple((captions[row],) if split == "train" else () for split, rows in chosen.items() for row in rows.tolist()),
        np.concatenate([canvases.feature for canvases in shown.values()]),
    )
    return Draft(setting, samples, _regions(pool, setting, samples, list(shown.values())))


def _choose(
    canvases: Canvases, counts: Int64[np.ndarray, "classes 2"], rng: np.random.Generator
) -> Int64[np.ndarray, " n"]:
    chosen = [
        rng.permutation(np.flatnonzero((canvases.labels == label) & (canvases.feature == present)))[:count]
        for label, row in enumerate(counts.tolist())
        for present, count in enumerate(row)
    ]
    return np.sort(np.concatenate(chosen))


def _regions(pool: QuadrantPool, setting: Setting, samples: Samples, shown: list[Canvases]) -> Regions:
    shows_object, shows_feature = (
        np.concatenate([getattr(canvases, name) for canvases in shown]).ravel()
        for name in ("shows_object", "shows_feature")
    )
    labels = np.where(shows_object, np.repeat(samples.labels, QUADRANTS), UNLABELLED)
    words = np.array([EMPTY, pool.feature.shape, *setting.class_names], dtype=object)
    contents = words[np.where(shows_object, labels + 2, shows_feature.astype(np.int64))]
    return Regions(
        tuple(name for name in samples.ids for _ in range(QUADRANTS)),
        np.tile(quadrant_boxes(pool.side), (len(samples.ids), 1)),
        labels=labels,
        contents=tuple(contents.tolist()),
        spurious=shows_feature,
        meta={"data": setting.name, "proposer": "grid:2x2"},
    )
