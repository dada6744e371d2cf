"""Whether the evidence of a data set can be used: what there is, and what would make numbers mislead."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from vlm_data.dataset import ImageDataset
from vlm_data.errors import UnreadableImageError, VlmDataError, listing


@dataclasses.dataclass
class EvidenceCounts:
    """What the masks of a data set look like, image by image.

    Attributes:
        unknown: ids of images that nothing is known about.
        empty: ids whose mask has no pixel: nothing can be right there.
        full: ids whose mask is the whole image: nothing can be wrong there.
        outside: ids whose evidence lies outside of the square in the middle, which is all most models see.
        broken: ids whose evidence cannot be read or does not fit.
        first_fault: what is wrong with the first of these.
        shares: of the area of each image that has evidence, the part that is.
    """

    unknown: list[str] = dataclasses.field(default_factory=list)
    empty: list[str] = dataclasses.field(default_factory=list)
    full: list[str] = dataclasses.field(default_factory=list)
    outside: list[str] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)
    first_fault: str = ""
    shares: list[float] = dataclasses.field(default_factory=list)

    def add(self, dataset: ImageDataset, index: int) -> None:
        """Look at the evidence of one image.

        Example:
            >>> from vlm_data import load_benchmark
            >>> counts = EvidenceCounts()
            >>> counts.add(load_benchmark("digits").test, 0)
            >>> counts.summary()
            'evidence in 1 of 1, ...% of an image on average'
        """
        name = dataset.ids[index]
        try:
            mask = dataset.evidence(index)
        except UnreadableImageError:  # counted as an image
            return
        except VlmDataError as error:
            self.broken.append(name)
            self.first_fault = self.first_fault or str(error)
            return
        if mask is None:
            self.unknown.append(name)
            return
        self.shares.append(float(mask.mean()))
        if not mask.any():
            self.empty.append(name)
        elif mask.all():
            self.full.append(name)
        elif not _middle(mask).any():
            self.outside.append(name)

    def summary(self) -> str:
        """Return how many images have evidence and how large it is, or "" where none has."""
        if not self.shares:
            return ""
        return f"evidence in {len(self.shares)} of {self._total}, {np.mean(self.shares):.0%} of an image on average"

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield severity and message of everything that is wrong or doubtful."""
        if self.broken:
            yield "error", f"{self._in(self.broken)} cannot be used: {listing(self.broken)}. {self.first_fault}"
        if self.shares and self.unknown:
            yield "warning", f"{self._in(self.unknown)} is not known: {listing(self.unknown)}."
        for names, what in (
            (self.empty, "is empty, so no answer can rest on it"),
            (self.full, "is the whole image, so every answer rests on it"),
            (self.outside, "lies outside of the square in the middle, which is what most models see of an image"),
        ):
            if names:
                yield "warning", f"{self._in(names)} {what}: {listing(names)}."

    @property
    def _total(self) -> int:
        return len(self.shares) + len(self.unknown) + len(self.broken)

    def _in(self, names: Sequence[str]) -> str:
        return f"in {len(names)} of {self._total} images the evidence"


def _middle(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "side side"]:
    height, width = mask.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return mask[top : top + side, left : left + side]
