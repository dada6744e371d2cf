"""What a build of settings would make, from any source: told before a file is written, then written."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm_data.benchmarks import load_benchmark
from vlm_data.controlled.features import Feature
from vlm_data.controlled.grid import Draft, Grid
from vlm_data.controlled.objects import SOURCES
from vlm_data.controlled.photo_settings import PhotoFiles, PhotoSettings
from vlm_data.controlled.planted_settings import PlantedBenchmark
from vlm_data.controlled.planting import SPLITS, Plant
from vlm_data.controlled.quadrant_settings import QuadrantPool, quadrant_drafts
from vlm_data.controlled.writing import check_place, write_drafts
from vlm_data.progress import Progress, silent

_PRECISION = 0.005
"""An achieved Cramer's V further from the wanted one than this is told as a note."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The settings of a grid, made when asked for.

    Attributes:
        drafts: makes the settings, the same every time.
        count: number of settings.
        pictures: writes the images that the settings share into a folder; None where they are elsewhere.
        pool: what these images are made of.
        notes: what the user should know about the images.
    """

    drafts: Callable[[], Iterable[Draft]]
    count: int
    pictures: Callable[[Path], None] | None = None
    pool: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def facts(self, out: str | os.PathLike[str], *, overwrite: bool = False) -> list[dict[str, Any]]:
        """Check that the settings can be written, and return what each would be, without writing anything.

        Args:
            out: folder that the settings would be written to.
            overwrite: see `write`.

        Raises:
            CallError: if something is there that would be lost.
        """
        told, names = [], []
        for draft in self.drafts():
            told.append(_facts(draft, Path(out)))
            names.append(draft.setting.name)
        check_place(out, names, pool=self.pool if self.pictures else None, overwrite=overwrite)
        return told

    def write(
        self, out: str | os.PathLike[str], *, overwrite: bool = False, progress: Progress = silent
    ) -> list[dict[str, Any]]:
        """Write images and settings, see `vlm_data.controlled.writing.write_drafts`, and return what they are."""
        told: list[dict[str, Any]] = []

        def noted() -> Iterator[Draft]:
            for draft in self.drafts():
                told.append(_facts(draft, Path(out)))
                yield draft

        write_drafts(
            out, noted(), self.count, pictures=self.pictures, pool=self.pool, overwrite=overwrite, progress=progress
        )
        return told


def _facts(draft: Draft, out: Path) -> dict[str, Any]:
    """Return plain values: the setting, and for each split and class the images without and with the feature."""
    setting = draft.setting
    images = {split: dict(zip(setting.class_names, draft.counts(split).tolist(), strict=True)) for split in SPLITS}
    return {
        "setting": str(out / setting.name),
        "data": f"spurious:{out / setting.name}",
        "source": setting.source,
        "feature": setting.feature,
        "spurious_class": setting.spurious_class,
        "v": setting.v,
        "achieved_v": setting.achieved,
        "seed": setting.seed,
        "images": images,
    }


def precision_notes(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence if settings miss the wanted Cramer's V by more than 0.005.

    Example:
        >>> precision_notes([{"setting": "out/a", "v": 0.9, "achieved_v": 0.875}])
        ['1 of 1 settings misses its V by more than 0.005, out/a by most: 0.8750 for 0.9. More images come closer.']
    """
    missed = sorted(facts, key=lambda one: -abs(one["achieved_v"] - one["v"]))
    count = sum(abs(one["achieved_v"] - one["v"]) > _PRECISION for one in facts)
    if not count:
        return []
    worst = missed[0]
    return [
        f"{count} of {len(facts)} settings {'miss their' if count > 1 else 'misses its'} V by more than {_PRECISION}, "
        f"{worst['setting']} by most: {worst['achieved_v']:.4f} for {worst['v']:g}. More images come closer."
    ]


def plan_canvases(
    source: str, root: Path | None, feature: str, grid: Grid, canvas: int | None = None, progress: Progress = silent
) -> Plan:
    """Plan settings of quadrant canvases: an object in one quadrant, the feature in another, the rest black.

    Args:
        source: `digits`, `mnist`, `fashion-mnist`.
        root: folder that the files of the source lie below.
        feature: colour and shape, for example `red rectangle`.
        grid: the settings.
        canvas: side in pixels; None: that of the source.
        progress: called after each picture.

    Raises:
        CallError: for a name, number or size that cannot be.
        DataLayoutError: if the files of the source are missing or damaged.
    """
    planted = Feature.of(feature)
    pool = QuadrantPool(SOURCES.load(source).load(root), grid, planted, canvas)
    count = len(grid.settings(pool.objects.class_names))
    return Plan(lambda: quadrant_drafts(pool), count, lambda folder: pool.draw_pictures(folder, progress), pool.facts)


def plan_photos(
    training: PhotoFiles, evaluation: PhotoFiles | None, classes: Sequence[str], feature: str, grid: Grid
) -> Plan:
    """Plan settings of photographs with boxed objects, see `vlm_data.controlled.photo_settings.PhotoSettings`.

    Raises:
        CallError: for categories that are not there or do not fit together, and cells without photographs.
        DataLayoutError: for files that are not in the format, or photographs that are not there.
    """
    settings = PhotoSettings(training, evaluation, classes, feature, grid)
    return Plan(settings.drafts, len(grid.settings(classes)), notes=settings.notes)


def plan_planting(
    data: str,
    root: Path | None,
    plant: Plant,
    grid: Grid,
    *,
    seed: int = 0,
    skip_unreadable: bool = False,
    progress: Progress = silent,
) -> Plan:
    """Plan settings of anybody's benchmark, see `vlm_data.controlled.planted_settings.PlantedBenchmark`.

    Args:
        data: as for `--data`.
        root: folder that relative paths of the data start from.
        plant: what is planted, and where.
        grid: the settings.
        seed: of what the data draws itself: missing splits.
        skip_unreadable: leave out files that cannot be decoded.
        progress: called after each image.

    Raises:
        CallError: for data, a place, a size or a grid that cannot be.
        DataLayoutError: if a split has no image with a class.
    """
    benchmark = load_benchmark(data, root, seed=seed, skip_unreadable=skip_unreadable, progress=progress)
    planted = PlantedBenchmark(benchmark, plant, grid, progress)
    drafts = planted.drafts()
    left_out = planted.left_out
    notes = [f"images left out because they have no class: {left_out}."] if left_out else []
    if benchmark.skipped:
        notes.append(f"images left out because they cannot be decoded: {len(benchmark.skipped)}.")
    return Plan(lambda: drafts, len(drafts), planted.pictures(drafts, progress), planted.pool(drafts), tuple(notes))
