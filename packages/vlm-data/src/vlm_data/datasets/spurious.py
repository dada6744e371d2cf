"""Controlled settings that `vlm spurious build` wrote: `spurious:DIR`."""

from pathlib import Path

import numpy as np

from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.controlled.setting import READER, Samples, Setting, load_samples, load_setting
from vlm_data.dataset import ArrayDataset, FileDataset, ImageDataset
from vlm_data.errors import DataLayoutError
from vlm_data.evidence.boxes import Boxes
from vlm_data.file_benchmark import source_path
from vlm_data.tables.regions import Regions

INFO = DatasetInfo(
    summary="a controlled setting: images in which a feature that means nothing is tied to one class",
    spec="spurious:DIR",
    layout="""\
DIR is one setting that `vlm spurious build` wrote:
setting.json    what is planted, in which class, and how strongly (Cramer's V, wanted and achieved)
samples.parquet id, split, label, file, captions and feature (is it there) of every image
regions.parquet boxes of every image, what they show, and which hold the feature
Images lie in ../images, shared by the settings of a grid, or where setting.json says.
""",
)
ATTRIBUTE, PRESENT, ABSENT = "feature", "with", "without"
IN_MEMORY = 64
"""Canvases up to this side are decoded once and kept."""


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read a setting; nothing is drawn, so the seed changes nothing.

    Train has the feature tied to a class; in val and test it is tied to none. Evidence is where the object lies.

    Raises:
        DataLayoutError: if the folder is not there or holds no setting, or its files do not fit together.
    """
    setting = load_setting(source_path(READER, source, root))
    samples, regions = load_samples(setting), Regions.load(setting.regions)
    evidence = _evidence(setting, samples, regions)
    train, val, test = (_dataset(setting, samples, split, evidence) for split in ("train", "val", "test"))
    return Benchmark(
        setting.name,
        setting.class_names,
        setting.templates,
        train,
        val,
        test,
        notes=(
            f"{setting.feature} goes with {setting.spurious_class} in train (Cramer's V = {setting.achieved:.3f}), "
            "and with no class in val and test.",
        ),
        regions=setting.regions,
    )


def _evidence(setting: Setting, samples: Samples, regions: Regions) -> Boxes:
    """Return the boxes that show the class of their image."""
    rows = regions.rows_of(samples.ids)
    if regions.labels is None or (rows < 0).any():
        raise DataLayoutError(
            f"{setting.regions} has regions of other images than {setting.samples}, or no labels. Expected the files "
            "of one setting. Build it again."
        )
    boxes: dict[str, list[list[int]]] = {}
    for index in np.flatnonzero(regions.labels == samples.labels[rows]).tolist():
        x1, y1, x2, y2 = regions.boxes[index].round().astype(int).tolist()
        boxes.setdefault(regions.image_ids[index], []).append([x1, y1, x2 - 1, y2 - 1])  # both corners included
    return Boxes({name: np.array(each) for name, each in boxes.items()})


def _dataset(setting: Setting, samples: Samples, split: str, evidence: Boxes) -> ImageDataset:
    rows = [row for row, word in enumerate(samples.splits) if word == split]
    if not rows:
        raise DataLayoutError(f"{setting.samples} has no {split} images. Expected train, val and test. Build it again.")
    folder = setting.folder / setting.images
    captions = tuple(samples.captions[row] for row in rows)
    files = FileDataset(
        setting.name,
        split,
        tuple(samples.ids[row] for row in rows),
        samples.labels[rows],
        tuple(folder / samples.files[row] for row in rows),
        captions if any(captions) else (),
        {ATTRIBUTE: tuple(PRESENT if samples.feature[row] else ABSENT for row in rows)},
        evidence_source=evidence,
    )
    return _decoded(files, setting.canvas, evidence) if setting.canvas and setting.canvas <= IN_MEMORY else files


def _decoded(files: FileDataset, side: int, evidence: Boxes) -> ArrayDataset:
    images = np.zeros((len(files), side, side, 3), dtype=np.uint8)
    masks = np.zeros((len(files), side, side), dtype=bool)
    for row, name in enumerate(files.ids):
        image = files.image(row)
        if image.size != (side, side):
            raise DataLayoutError(
                f"{files.paths[row]} has {image.size[0]} x {image.size[1]} pixels; expected {side} x {side}. "
                "Build the setting again."
            )
        images[row] = np.asarray(image)
        if evidence.knows(name):
            masks[row] = evidence.mask(name, image.size)
    masks = masks if any(map(evidence.knows, files.ids)) else None
    return ArrayDataset(files.name, files.split, files.ids, files.labels, images, masks, files.captions, files.groups)
