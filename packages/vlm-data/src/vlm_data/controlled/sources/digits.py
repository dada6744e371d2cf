"""The handwritten digits of scikit-learn: no download."""

from pathlib import Path

import numpy as np

from vlm_data.asset import asset_lines
from vlm_data.benchmark import DatasetInfo
from vlm_data.controlled.objects import CAPTIONS, DIGIT_TEMPLATES, ObjectPictures, Objects
from vlm_data.digits.sources import SPLITS, handwritten_digits

INFO = DatasetInfo(
    summary="the 1797 handwritten digits of the embedded benchmark, in its splits",
    spec="digits",
    licence="UCI Optical Recognition of Handwritten Digits, CC BY 4.0",
)
_CANVAS = 32


def load(_root: Path | None) -> Objects:
    """Return the digits; they ship with an installed package, so nothing is looked for below a folder."""
    ink, labels = handwritten_digits()
    images = np.rint(255 * ink).astype(np.uint8)
    splits = {split: ObjectPictures(images[rows], labels[rows]) for split, rows in SPLITS.items()}
    return Objects("digits", asset_lines("digits/class_names.txt"), DIGIT_TEMPLATES, CAPTIONS, splits, _CANVAS)
