"""What canvases are made of: single objects on black, split before anything is composed of them."""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64, UInt8

from vlm_data.registry import Registry

SOURCES = Registry("vlm_data.controlled.sources", "source of controlled settings")
CAPTIONS = (
    "the image shows a {c}",
    "the digit appears to be {c}",
    "there is an image showing a {c}",
    "the number is a {c}",
)
"""Texts of training images of the public RaVL generator; the paper uses them for FashionMNIST, too, unchanged."""
DIGIT_TEMPLATES = ("a photo of the number {c}", "the digit {c}", "an image of a {c}", "{c}")
"""Prompts of the RaVL paper for MNIST."""


@dataclasses.dataclass(frozen=True, eq=False)
class ObjectPictures:
    """Objects of one split.

    Attributes:
        images: (n, h, w) brightness of objects on black.
        labels: (n,) index into the class names.
    """

    images: UInt8[np.ndarray, "n h w"]
    labels: Int64[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """Objects with their classes and the words for them.

    Attributes:
        name: of the source, for example `digits`.
        class_names: one per label.
        templates: prompts with `{c}`, by which images are classified.
        captions: texts with `{c}`, of training images; the feature is never mentioned.
        splits: the objects of `train`, `val` and `test`; none is in two of them.
        canvas: side of a canvas in pixels where no other is asked for; a quadrant has half of it.
    """

    name: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    captions: tuple[str, ...]
    splits: Mapping[str, ObjectPictures]
    canvas: int

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of all pixels and labels."""
        digest = hashlib.sha256()
        for _, one in sorted(self.splits.items()):
            digest.update(repr(one.images.shape).encode() + one.images.tobytes() + one.labels.tobytes())
        return digest.hexdigest()[:16]
