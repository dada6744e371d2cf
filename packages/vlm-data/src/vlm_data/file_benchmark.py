"""From a list of image files, however it was written down, to the splits and shifts of a benchmark."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped

from vlm_data.benchmark import Benchmark, Shift
from vlm_data.dataset import UNLABELLED, FileDataset
from vlm_data.errors import CallError, DataLayoutError, listing
from vlm_data.evidence.source import EvidenceSource

SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SHIFT_PREFIX = "shift:"
DRAWN_SHARE = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class FileList:
    """Every image of a benchmark, one entry each.

    Attributes:
        ids: n unique names, the same on every machine.
        paths: n files.
        labels: (n,) index into the class names, `UNLABELLED` where unknown.
        splits: (n,) of `train`, `val`, `test` or `shift:NAME`.
        captions: n tuples of texts, or empty.
        groups: attribute to n values, see `vlm_data.dataset.ImageDataset`.
        evidence_source: tells by id what a right answer should rest on, or None.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: Int64[np.ndarray, " n"]
    splits: Shaped[np.ndarray, " n"]
    captions: tuple[tuple[str, ...], ...] = ()
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    evidence_source: EvidenceSource | None = None


def source_path(reader: str, source: str, root: Path | None) -> Path:
    """Return the path a reader was given, below `root` where it is relative.

    Raises:
        CallError: if nothing follows the colon.

    Example:
        >>> source_path("csv", "train.csv", Path("data")).as_posix()
        'data/train.csv'
    """
    if not source:
        raise CallError(f"{reader!r} names no data; expected a path after a colon. Write {reader}:PATH")
    return (root or Path()).expanduser() / Path(source).expanduser()


def complete_splits(
    splits: Shaped[np.ndarray, " n"],
    labels: Int64[np.ndarray, " n"],
    ids: Sequence[str],
    names: Sequence[str],
    seed: int,
    most: int | None = None,
    share: float = DRAWN_SHARE,
) -> Shaped[np.ndarray, " n"]:
    """Draw validation and test images from the training images where a split is missing.

    Each missing split gets a share of every class (rounded, at least one image); both missing gives 80/10/10.
    The draw depends on the seed and the set of ids, not on the order of the list. Images without a label are one class.

    Args:
        splits: (n,) of `train`, `val`, `test` or `shift:NAME`.
        labels: (n,) class of each image.
        ids: n unique names.
        names: class names, for messages.
        seed: of the draw.
        most: a missing split gets at most so many images of each class.
        share: of the images of a class that a missing split gets, a fraction.

    Raises:
        DataLayoutError: if a class has too few images to keep one for training; the classes are listed.

    Example:
        >>> everything = np.array(["train"] * 10, dtype=object)
        >>> drawn = complete_splits(everything, np.zeros(10, dtype=np.int64), list("abcdefghij"), ["cat"], seed=0)
        >>> sorted(drawn.tolist())[-4:], sorted(drawn.tolist())[0]
        (['train', 'train', 'train', 'val'], 'test')
    """
    missing = [split for split in ("val", "test") if not (splits == split).any()]
    rows = np.array(sorted(np.flatnonzero(splits == "train").tolist(), key=lambda row: ids[row]), dtype=np.int64)
    classes = labels[rows] - UNLABELLED  # without a label: class 0
    counts = np.bincount(classes)
    quota = np.maximum(1, np.minimum(np.rint(share * counts), np.inf if most is None else most)).astype(np.int64)
    scarce = (np.flatnonzero((counts > 0) & (counts <= len(missing) * quota)) + UNLABELLED).tolist()
    if missing and scarce:
        who = listing([names[label] for label in scarce if label != UNLABELLED])
        raise DataLayoutError(
            f"too few training images to draw {' and '.join(missing)} from: "
            f"{f'class {who}' if who else f'{len(rows)} in all'}. "
            f"Expected at least {len(missing) + 1} images of each class where these splits are missing. "
            "Add images, or give the splits yourself."
        )
    order = np.lexsort((np.random.default_rng(seed).random(len(rows)), classes))
    rank = np.arange(len(rows)) - (np.cumsum(counts) - counts)[classes[order]]
    turn = rank // quota[classes[order]]
    completed = splits.copy()
    for number, split in enumerate(missing):
        completed[rows[order[turn == number]]] = split
    return completed


def check_coverage(name: str, class_names: Sequence[str], files: FileList) -> None:
    """Check that training images show every class that is tested; a shift may have fewer classes, never others.

    Raises:
        DataLayoutError: naming the split and the classes.
    """
    shown = set(files.labels[files.splits == "train"].tolist())
    for split in sorted(set(files.splits) - {"train"}) if shown else ():
        unseen = sorted(set(files.labels[files.splits == split].tolist()) - shown)
        if unseen:
            raise DataLayoutError(
                f"{split} of {name} shows classes without a training image: "
                f"{listing([class_names[label] for label in unseen])}. Expected classes that train has too. "
                "Add training images of them, or leave them out."
            )


def file_benchmark(
    name: str,
    class_names: Sequence[str],
    templates: Sequence[str],
    files: FileList,
    seed: int,
    most: int | None = None,
    share: float = DRAWN_SHARE,
) -> Benchmark:
    """Sort a list of files into the data sets of a benchmark; missing splits are drawn (see `complete_splits`).

    Raises:
        DataLayoutError: if there is nothing to train on, or too little to draw from.
    """
    if not (files.splits == "train").any():
        raise DataLayoutError(
            f"{name} has no training images; found only {listing(sorted(set(files.splits)))}. "
            "Expected a 'train' split. Add one, or remove the splits to have them drawn."
        )
    splits = complete_splits(files.splits, files.labels, files.ids, class_names, seed, most, share)

    def dataset(split: str) -> FileDataset:
        rows = np.flatnonzero(splits == split)
        shift = split.removeprefix(SHIFT_PREFIX) if split.startswith(SHIFT_PREFIX) else ""
        return FileDataset(
            f"{name}/{shift}" if shift else name,
            "test" if shift else split,
            tuple(files.ids[row] for row in rows),
            files.labels[rows],
            tuple(files.paths[row] for row in rows),
            tuple(files.captions[row] for row in rows) if files.captions else (),
            {attribute: tuple(values[row] for row in rows) for attribute, values in files.groups.items()},
            evidence_source=files.evidence_source,
        )

    shifts = sorted(split for split in set(splits) if split.startswith(SHIFT_PREFIX))
    return Benchmark(
        name,
        tuple(class_names),
        tuple(templates),
        dataset("train"),
        dataset("val"),
        dataset("test"),
        tuple(Shift(split.removeprefix(SHIFT_PREFIX), "natural", (dataset(split),)) for split in shifts),
    )
