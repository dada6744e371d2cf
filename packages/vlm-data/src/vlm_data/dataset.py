"""Labelled or captioned images: the two kinds of data set every room works with."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from PIL import Image

from vlm_data.errors import UnreadableImageError, VlmDataError
from vlm_data.evidence.source import EvidenceSource

UNLABELLED = -1


@runtime_checkable
class ImageDataset(Protocol):
    """Images with stable ids and, where known, labels, captions and evidence.

    Attributes:
        name: for example `digits` or `digits/invert`.
        split: `train`, `val` or `test`.
        ids: one unique name per image, stable between runs and machines; images of a shift keep the id of their
            clean original.
        labels: (n,) index into the class names of the benchmark, `UNLABELLED` where unknown.
        captions: for each image the texts that describe it; empty when captions are made from class names and
            templates.
        groups: for each attribute that images have besides their class (`region`, `year`), the value of every image.
    """

    @property
    def name(self) -> str: ...  # noqa: D102  (the class docstring describes the attributes)

    @property
    def split(self) -> str: ...  # noqa: D102

    @property
    def ids(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def labels(self) -> Int64[np.ndarray, " n"]: ...  # noqa: D102

    @property
    def captions(self) -> tuple[tuple[str, ...], ...]: ...  # noqa: D102

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]: ...  # noqa: D102

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def image(self, index: int) -> Image.Image:
        """Decode one image as RGB."""
        ...

    def image_size(self, index: int) -> tuple[int, int]:
        """Return width and height of one image without decoding it."""
        ...

    def evidence(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """Return the mask of what a right answer should rest on, in pixels of `image(index)`, or None."""
        ...

    def select(self, indices: Sequence[int]) -> "ImageDataset":
        """Return the data set of these images in this order."""
        ...

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when ids, labels, captions or image contents do."""
        ...


def _digest(dataset: "ArrayDataset | FileDataset", contents: Sequence[bytes]) -> str:
    digest = hashlib.sha256(repr((dataset.ids, dataset.captions)).encode() + dataset.labels.tobytes())
    if dataset.groups:
        digest.update(repr(sorted(dataset.groups.items())).encode())
    for content in contents:
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Images that are held in memory, see `ImageDataset` for the shared fields.

    Attributes:
        images: (n, h, w, 3) uint8.
        masks: (n, h, w) bool evidence, or None.
    """

    name: str
    split: str
    ids: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    images: UInt8[np.ndarray, "n h w 3"]
    masks: Bool[np.ndarray, "n h w"] | None = None
    captions: tuple[tuple[str, ...], ...] = ()
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Image.Image:
        """Return one image as RGB."""
        return Image.fromarray(self.images[index])

    def image_size(self, index: int) -> tuple[int, int]:
        """Return width and height of one image."""
        return self.images.shape[2], self.images.shape[1]

    def evidence(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """Return the evidence mask of one image, or None where the data set has none."""
        return None if self.masks is None else self.masks[index]

    def select(self, indices: Sequence[int]) -> "ArrayDataset":
        """Return the data set of these images in this order."""
        rows = np.asarray(indices, dtype=np.int64)
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            labels=self.labels[rows],
            images=self.images[rows],
            masks=None if self.masks is None else self.masks[rows],
            captions=tuple(self.captions[i] for i in rows) if self.captions else (),
            groups={name: tuple(values[i] for i in rows) for name, values in self.groups.items()},
        )

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of ids, labels, captions and pixels."""
        return _digest(self, [self.images.tobytes()])


@dataclasses.dataclass(frozen=True, eq=False)
class FileDataset:
    """Images that are files, decoded when asked for, see `ImageDataset` for the shared fields.

    Attributes:
        border: pixels that are cut from every side of an image (those of ObjectNet have a red frame).
        evidence_source: tells what a right answer should rest on, or None.
    """

    name: str
    split: str
    ids: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    paths: tuple[Path, ...]
    captions: tuple[tuple[str, ...], ...] = ()
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    border: int = 0
    evidence_source: EvidenceSource | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Image.Image:
        """Decode one file as RGB; of 16-bit grey values the upper eight bits are kept, transparency is dropped.

        Raises:
            UnreadableImageError: if the file is missing, truncated, not an image, or has 32-bit values, whose range
                is not known; the message names it.
        """
        with self._opened(index) as image:
            whole = _as_rgb(image)
        return whole.crop(self._inner(whole.size)) if self.border else whole

    def image_size(self, index: int) -> tuple[int, int]:
        """Return width and height of one file, from its header.

        Raises:
            UnreadableImageError: as for `image`.
        """
        with self._opened(index) as image:
            left, top, right, bottom = self._inner(image.size)
        return right - left, bottom - top

    def _inner(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        cut = min(self.border, (min(size) - 1) // 2)  # one pixel is left of the smallest image
        return cut, cut, size[0] - cut, size[1] - cut

    @contextlib.contextmanager
    def _opened(self, index: int) -> Iterator[Image.Image]:
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                yield image
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UnreadableImageError(
                f"cannot decode {path} (sample {self.ids[index]!r} of {self.name}/{self.split}): {error}. "
                "Expected a whole image file that Pillow can open. "
                "Repair or remove it, or pass --skip-unreadable to leave such files out and count them."
            ) from error

    def evidence(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """Return the evidence mask of one image, in pixels of `image(index)`, or None where none is known.

        Raises:
            UnreadableImageError: as for `image_size`.
            VlmDataError: if the mask has another size than the image.
        """
        if self.evidence_source is None or not self.evidence_source.knows(self.ids[index]):
            return None
        with self._opened(index) as image:
            size = image.size
        mask = self.evidence_source.mask(self.ids[index], size)
        if mask is None:
            return None
        if mask.shape != size[::-1]:
            raise VlmDataError(
                f"the evidence of {self.ids[index]!r} in {self.name}/{self.split} has {mask.shape[1]} x "
                f"{mask.shape[0]} pixels, its image {size[0]} x {size[1]}. Expected a mask of the size of the image. "
                "Correct the mask."
            )
        left, top, right, bottom = self._inner(size)
        return mask[top:bottom, left:right]

    def select(self, indices: Sequence[int]) -> "FileDataset":
        """Return the data set of these images in this order."""
        rows = np.asarray(indices, dtype=np.int64)
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            labels=self.labels[rows],
            paths=tuple(self.paths[i] for i in rows),
            captions=tuple(self.captions[i] for i in rows) if self.captions else (),
            groups={name: tuple(values[i] for i in rows) for name, values in self.groups.items()},
        )

    @property
    def fingerprint(self) -> str:
        """Sixteen digits of ids, labels, captions, evidence and file sizes (contents are not read; 0 if missing)."""
        sizes = [str(path.stat().st_size if path.exists() else 0) for path in self.paths]
        border = [f"border {self.border}"] if self.border else []
        evidence = [f"evidence {self.evidence_source.fingerprint}"] if self.evidence_source else []
        return _digest(self, [part.encode() for part in (*sizes, *border, *evidence)])


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would clip at 255: a white picture, without a warning
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"pixel mode {image.mode!r} has no known range, save it with 8 or 16 bits per channel")
    return image.convert("RGB")
