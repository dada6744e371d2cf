"""What a data set of image files asks for the evidence of its images."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool


@runtime_checkable
class EvidenceSource(Protocol):
    """Masks by sample id, made when asked for: `vlm_data.dataset.FileDataset` holds one.

    A source may know more images than a data set has, and fewer.
    """

    def knows(self, sample_id: str) -> bool:
        """Return whether there is evidence for an image, without opening any file."""
        ...

    def mask(self, sample_id: str, size: tuple[int, int]) -> Bool[np.ndarray, "h w"] | None:
        """Return the evidence of one image, or None where nothing is known about it.

        Args:
            sample_id: the id that the image has in its data set.
            size: width and height of the image as decoded, before `FileDataset.border` is cut.
        """
        ...

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when any evidence does."""
        ...
