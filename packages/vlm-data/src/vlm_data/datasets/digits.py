"""The embedded benchmark: real handwritten digits, and nine shifts of them drawn once per seed."""

import zlib
from pathlib import Path

import numpy as np

from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo, Shift
from vlm_data.dataset import ArrayDataset
from vlm_data.digits.rendering import cubic_matrix, evidence
from vlm_data.digits.shifts import CORRUPTION, NATURAL, Handwriting, Pictures, white_on_black
from vlm_data.digits.sources import SPLITS as SPLITS
from vlm_data.digits.sources import handwritten_digits
from vlm_data.errors import CallError

INFO = DatasetInfo(
    summary="1797 handwritten digits (8 x 8, from scikit-learn) with six natural shifts and three corruptions.",
    spec="digits",
    licence="UCI Optical Recognition of Handwritten Digits, CC BY 4.0",
)
NAME = "digits"
_BORDER = 2
_FRAME = 28


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Return the benchmark; the splits are fixed, `seed` draws the shifts.

    Raises:
        CallError: if something follows the name: the data is embedded and has no source.
    """
    if source:
        raise CallError(f"'digits:{source}' names a source, but the digits are embedded; write --data digits.")
    written = {split: handwriting(rows) for split, rows in SPLITS.items()}
    splits: dict[str, ArrayDataset] = {
        split: _dataset(NAME, split, white_on_black(written[split].ink)) for split in SPLITS
    }
    test = written["test"]
    natural = [
        Shift(name, "natural", (_dataset(f"{NAME}/{name}", "test", draw(test, _generator(seed, name))),))
        for name, draw in NATURAL.items()
    ]
    corruption = [
        Shift(name, "corruption", _levels(name, draw(test, _generator(seed, name))))
        for name, draw in CORRUPTION.items()
    ]
    return Benchmark(
        NAME,
        asset_lines("digits/class_names.txt"),
        asset_lines("digits/templates.txt"),
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        shifts=(*natural, *corruption),
    )


def handwriting(rows: range) -> Handwriting:
    """Return digits of the source file, enlarged from 8 x 8 to 28 x 28 pixels and put on their canvas.

    Example:
        >>> handwriting(SPLITS["val"]).ink.shape
        (400, 32, 32)
    """
    images, labels = handwritten_digits()
    enlarge = cubic_matrix(images.shape[1], _FRAME)
    frames = np.einsum("hi,nij,wj->nhw", enlarge, images[rows], enlarge).clip(0, 1)
    return Handwriting(frames, np.pad(frames, ((0, 0), (_BORDER,) * 2, (_BORDER,) * 2)), labels[rows])


def _generator(seed: int, shift: str) -> np.random.Generator:
    # From the name, not from the position: a further shift leaves the others as they are.
    return np.random.default_rng((seed, zlib.crc32(shift.encode())))


def _levels(name: str, levels: list[Pictures]) -> tuple[ArrayDataset, ...]:
    return tuple(_dataset(f"{NAME}/{name}-{i}", "test", level) for i, level in enumerate(levels, start=1))


def _dataset(name: str, split: str, pictures: Pictures) -> ArrayDataset:
    rows = SPLITS[split]
    ids = tuple(f"{NAME}/{row}" for row in rows)
    return ArrayDataset(name, split, ids, handwritten_digits()[1][rows], pictures.stored(), evidence(pictures.ink))
