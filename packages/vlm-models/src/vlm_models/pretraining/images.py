"""The pre-training images: printed digits, from easy (light, upright, large) to anything."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from vlm_data.digits.corruptions import box_blur
from vlm_data.digits.shifts import Pictures, draw_rendered
from vlm_models.pretraining.caption_grammar import draw_captions

_PART = 2000
"""Images are drawn in parts of this size, which fit into the processor's cache."""
_NOISE = 0.15
_BLURRED_SHARE = 0.3


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """How far the images of a chunk stray from a white, upright, centred digit on black.

    Attributes:
        share: part of all images.
        light_ink: probability that the ink is lighter than the ground.
        smallest: lower end of the size, as a share of the canvas.
        rotation_degrees: standard deviation.
        bend: standard deviation of elastic displacements in half-canvas units.
    """

    share: float
    light_ink: float
    smallest: float
    rotation_degrees: float
    bend: float


CURRICULUM = (
    Difficulty(share=0.2, light_ink=1.0, smallest=0.7, rotation_degrees=6.0, bend=0.0),
    Difficulty(share=0.3, light_ink=0.85, smallest=0.6, rotation_degrees=8.0, bend=0.08),
    Difficulty(share=0.5, light_ink=0.7, smallest=0.45, rotation_degrees=10.0, bend=0.08),
)
"""Random polarity from the first step leaves no correlation between pixels and class, and nothing is learnt."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Images with everything that a caption can say about them.

    Attributes:
        images: (n, 3, 32, 32) uint8.
        digits, ink, ground: (n,) the digit shown and the positions of its two colours in `COLOUR_NAMES`.
        captions: n sentences.
    """

    images: UInt8[Tensor, "n 3 32 32"]
    digits: Int64[Tensor, " n"]
    ink: Int64[Tensor, " n"]
    ground: Int64[Tensor, " n"]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)


def draw_chunk(n: int, difficulty: Difficulty, rng: np.random.Generator, fonts: str = "pretraining") -> Chunk:
    """Draw n images and their captions.

    Example:
        >>> draw_chunk(10, CURRICULUM[0], np.random.default_rng(0)).images.shape
        torch.Size([10, 3, 32, 32])
    """
    parts = [_draw_part(min(_PART, n - start), difficulty, rng, fonts) for start in range(0, n, _PART)]
    images, digits, ink, ground = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    captions = draw_captions(digits, ink, ground, rng)
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2)).contiguous()
    return Chunk(pixels, torch.from_numpy(digits), torch.from_numpy(ink), torch.from_numpy(ground), captions)


def _draw_part(n: int, difficulty: Difficulty, rng: np.random.Generator, fonts: str) -> tuple[np.ndarray, ...]:
    digits = rng.integers(0, 10, n)
    drawn = draw_rendered(
        digits,
        fonts,
        rng,
        size=(difficulty.smallest, 0.95),
        rotation_degrees=difficulty.rotation_degrees,
        bend=difficulty.bend,
        light_ink=difficulty.light_ink,
    )
    degraded = _degrade(drawn.pictures.images, rng)
    return Pictures(degraded, drawn.pictures.ink).stored(), digits, drawn.ink_colours, drawn.ground_colours


def _degrade(images: Float32[np.ndarray, "n h w 3"], rng: np.random.Generator) -> Float32[np.ndarray, "n h w 3"]:
    blurred = rng.uniform(size=len(images)) < _BLURRED_SHARE
    images[blurred] = box_blur(images[blurred])
    sigma = (_NOISE * rng.uniform(size=(len(images), 1, 1, 1)) ** 2).astype(np.float32)
    return images + sigma * rng.standard_normal(images.shape, dtype=np.float32)
