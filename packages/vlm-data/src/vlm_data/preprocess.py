"""What a model wants its pixels to look like."""

import dataclasses
import json
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vlm_data.errors import CallError, unknown_name
from vlm_data.files import text_hash

INTERPOLATIONS = ("bicubic", "bilinear", "nearest")
RESIZES = ("shortest", "squash")


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Image size and normalisation of a model.

    Attributes:
        size: side of the square input, in pixels.
        mean: per channel, in units of pixel values scaled to [0, 1].
        std: per channel, in the same units.
        interpolation: `"bicubic"`, `"bilinear"` or `"nearest"`.
        resize: `"shortest"` scales the shorter side to `size` and crops the centre; `"squash"` ignores the aspect
            ratio.
        resize_side: what `"shortest"` scales the shorter side to instead, in pixels: 256 before a crop of 224, as many
            published evaluations do. None, and what `size` says anyway, is `size`.

    Raises:
        CallError: for another interpolation or resize; an unknown word must not fall back to a default in silence.
            For a `resize_side` smaller than `size`, or one without a crop to follow.
    """

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"
    resize: str = "shortest"
    resize_side: int | None = None

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise unknown_name("interpolation", self.interpolation, INTERPOLATIONS)
        if self.resize not in RESIZES:
            raise unknown_name("resize", self.resize, RESIZES)
        if self.resize_side == self.size:
            object.__setattr__(self, "resize_side", None)
        if self.resize_side is not None and (self.resize == "squash" or self.resize_side < self.size):
            raise CallError(
                f"images cannot be resized to {self.resize_side} pixels by the rule {self.resize!r} before "
                f"{self.size} x {self.size} are cut out. Expected resize='shortest' and a resize_side of {self.size} "
                "or more. Leave resize_side out, or correct it."
            )

    @property
    def shorter_side(self) -> int:
        """Pixels of the shorter side of an image after resizing, before the centre is cut out."""
        return self.resize_side or self.size

    def values(self) -> dict[str, Any]:
        """Return the values as files hold them: `resize_side` is there only where it is not `size`.

        Example:
            >>> Preprocess(32).values().keys() ^ Preprocess(32, resize_side=40).values().keys()
            {'resize_side'}
        """
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change with any of the values."""
        return text_hash(json.dumps(self.values(), sort_keys=True))

    def normalise(self, images: Tensor) -> Float[Tensor, "n ..."]:
        """Turn uint8 images into the float input of the model, on the device where they are.

        Computes `(x / 255 - mean) / std`. Floating-point images are taken to be normalised already and pass unchanged.

        Example:
            >>> Preprocess(1).normalise(torch.tensor([0, 255, 255], dtype=torch.uint8).view(1, 3, 1, 1)).flatten()
            tensor([-1.,  1.,  1.])
        """
        if images.dtype != torch.uint8:
            return images
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return (images.float() / 255 - mean) / std
