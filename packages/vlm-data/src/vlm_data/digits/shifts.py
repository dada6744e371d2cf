"""The nine shifts of the embedded benchmark, each a function from handwritten ink to pictures.

Every function takes the ink of the ID test images ((n, 32, 32) in [0, 1], white on black) and its own generator.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from vlm_data.digits import corruptions
from vlm_data.digits.colours import PALETTE, draw_colour_pairs, paint
from vlm_data.digits.glyph_bank import GLYPH_EXTENT, glyphs
from vlm_data.digits.rendering import CANVAS, draw_placement, place
from vlm_data.digits.sources import photograph

_JITTER = 0.08
"""Standard deviation of each channel of a rendered digit's colours around the named colour."""


@dataclasses.dataclass(frozen=True)
class Handwriting:
    """Handwritten digits and the ink of their ID images.

    Attributes:
        digits: (n, 28, 28) the digit in its own frame, in [0, 1].
        ink: (n, 32, 32) the same on the canvas, with a border of two empty pixels.
        labels: (n,) the digit.
    """

    digits: Float32[np.ndarray, "n 28 28"]
    ink: Float32[np.ndarray, "n 32 32"]
    labels: Int64[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Drawn images with the ink that lies in them.

    Attributes:
        images: (n, 32, 32, 3) in [0, 1]; values outside are clamped when stored.
        ink: (n, 32, 32) after the same geometry as the images: where the evidence is.
    """

    images: Float32[np.ndarray, "n 32 32 3"]
    ink: Float32[np.ndarray, "n 32 32"]

    def stored(self) -> UInt8[np.ndarray, "n 32 32 3"]:
        """Return the images as bytes, rounded to the nearest value."""
        return np.rint(np.clip(self.images, 0, 1) * 255).astype(np.uint8)


def white_on_black(ink: Float32[np.ndarray, "n 32 32"]) -> Pictures:
    """Return the ID images: ink in three equal channels."""
    return Pictures(np.repeat(ink[..., None], 3, axis=3), ink)


def invert(written: Handwriting, rng: np.random.Generator) -> Pictures:
    """Black ink on white."""
    return Pictures(1 - white_on_black(written.ink).images, written.ink)


def color(written: Handwriting, rng: np.random.Generator) -> Pictures:
    """Ink and ground in two of the ten named colours whose luminances differ by more than 0.25."""
    ink, ground = draw_colour_pairs(len(written.ink), rng, contrast=0.25)
    return Pictures(paint(written.ink, PALETTE[ink][:, None, None], PALETTE[ground][:, None, None]), written.ink)


def rot(written: Handwriting, rng: np.random.Generator) -> Pictures:
    """Rotated by N(0, 25 degrees), about the usual size, centred."""
    lie = draw_placement(len(written.ink), rng, size=(0.85, 0.9), rotation_degrees=25.0, centred=True)
    return white_on_black(place(written.digits, 1.0, lie))


def canvas(written: Handwriting, rng: np.random.Generator) -> Pictures:
    """About half the usual size, anywhere on the canvas."""
    lie = draw_placement(len(written.ink), rng, size=(0.45, 0.65))
    return white_on_black(place(written.digits, 1.0, lie))


def photo(written: Handwriting, rng: np.random.Generator) -> Pictures:
    """White ink over a crop of a darkened photograph (scikit-learn's first sample image, reduced four times)."""
    source = photograph()
    height, width = (4 * (side // 4) for side in source.shape[:2])
    blocks = source[:height, :width].reshape(height // 4, 4, width // 4, 4, 3)
    reduced = blocks.mean(axis=(1, 3)).astype(np.float32) / 255 * np.float32(0.7)
    n = len(written.ink)
    top = rng.integers(0, reduced.shape[0] - CANVAS + 1, n)[:, None, None] + np.arange(CANVAS)[None, :, None]
    left = rng.integers(0, reduced.shape[1] - CANVAS + 1, n)[:, None, None] + np.arange(CANVAS)[None, None, :]
    return Pictures(paint(written.ink, np.ones((n, 1, 1, 3), dtype=np.float32), reduced[top, left]), written.ink)


def render(written: Handwriting, rng: np.random.Generator) -> Pictures:
    """The same digits printed in fonts that pre-training never saw, in any colours, lighter or darker than the ground.

    Close to the pre-training data by design: it stands for what web-scale pre-training has seen.
    """
    return draw_rendered(written.labels, "heldout", rng, size=(0.6, 0.95), rotation_degrees=8.0).pictures


@dataclasses.dataclass(frozen=True)
class Rendered:
    """Printed digits with the names of what was drawn.

    Attributes:
        pictures: the images, before noise and blur.
        ink_colours, ground_colours: (n,) positions in `COLOUR_NAMES`.
    """

    pictures: Pictures
    ink_colours: Int64[np.ndarray, " n"]
    ground_colours: Int64[np.ndarray, " n"]


def draw_rendered(
    labels: Int64[np.ndarray, " n"],
    fonts: str,
    rng: np.random.Generator,
    *,
    size: tuple[float, float],
    rotation_degrees: float,
    bend: float = 0.0,
    light_ink: float = 0.5,
) -> Rendered:
    """Print digits in random styles, places and colours: the `render` shift and the pre-training images.

    Args:
        labels: the digit of each image.
        fonts: a group of `vlm_data.digits.glyph_bank.FONTS`.
        rng: the only source of randomness.
        size: range of the longest side as a share of the canvas.
        rotation_degrees: standard deviation of the rotation.
        bend: standard deviation of the elastic displacements in half-canvas units.
        light_ink: probability that the ink is lighter than the ground.

    Example:
        >>> draw_rendered(np.arange(10), "heldout", np.random.default_rng(0), size=(0.6, 0.9),
        ...               rotation_degrees=8.0).pictures.images.shape
        (10, 32, 32, 3)
    """
    bank, n = glyphs(fonts), len(labels)
    frames = bank[rng.integers(0, len(bank), n), labels].astype(np.float32) / 255
    lie = draw_placement(n, rng, size=size, rotation_degrees=rotation_degrees, squeeze=0.25, shear=0.2, bend=bend)
    ink = place(frames, GLYPH_EXTENT, lie)
    colours = draw_colour_pairs(n, rng, light_ink=light_ink)
    foreground, ground = (
        (PALETTE[colour] + rng.normal(0, _JITTER, (n, 3))).clip(0, 1).astype(np.float32)[:, None, None]
        for colour in colours
    )
    return Rendered(Pictures(paint(ink, foreground, ground), ink), *colours)


def _corrupted(images: list[Float32[np.ndarray, "n 32 32 3"]], written: Handwriting) -> list[Pictures]:
    return [Pictures(level, written.ink) for level in images]


NATURAL: dict[str, Callable[[Handwriting, np.random.Generator], Pictures]] = {
    "invert": invert,
    "color": color,
    "rot": rot,
    "canvas": canvas,
    "photo": photo,
    "render": render,
}
CORRUPTION: dict[str, Callable[[Handwriting, np.random.Generator], list[Pictures]]] = {
    "noise": lambda w, rng: _corrupted(corruptions.noise(white_on_black(w.ink).images, rng), w),
    "contrast": lambda w, rng: _corrupted(corruptions.contrast(white_on_black(w.ink).images), w),
    "blur": lambda w, rng: _corrupted(corruptions.blur(white_on_black(w.ink).images), w),
}
