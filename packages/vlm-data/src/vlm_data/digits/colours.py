"""Colours of ink and ground, by name, and pictures from ink and two colours."""

import numpy as np
from jaxtyping import Float, Float32, Int64

COLOURS = {
    "red": (0.90, 0.10, 0.10),
    "green": (0.10, 0.70, 0.20),
    "blue": (0.15, 0.25, 0.90),
    "yellow": (0.95, 0.90, 0.10),
    "white": (1.00, 1.00, 1.00),
    "black": (0.00, 0.00, 0.00),
    "gray": (0.50, 0.50, 0.50),
    "purple": (0.55, 0.10, 0.70),
    "orange": (1.00, 0.55, 0.00),
    "pink": (1.00, 0.60, 0.75),
}
"""The ten colours that captions name; channels in [0, 1]."""
COLOUR_NAMES = tuple(COLOURS)
PALETTE = np.array(list(COLOURS.values()), dtype=np.float32)
"""(10, 3) the same colours, in the order of `COLOUR_NAMES`."""


def luminance(colours: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """Return the weighted mean of the channels, 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601).

    Example:
        >>> luminance(PALETTE)[[4, 5]].round(2)
        array([1., 0.], dtype=float32)
    """
    return colours[..., 0] * 0.299 + colours[..., 1] * 0.587 + colours[..., 2] * 0.114


def draw_colour_pairs(
    n: int, rng: np.random.Generator, *, contrast: float = 0.0, light_ink: float = 0.5
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Draw n pairs of two different colours, one for the ink and one for the ground.

    Args:
        n: number of pairs.
        rng: the only source of randomness.
        contrast: the luminances of a pair differ by more than this.
        light_ink: probability that the ink is the lighter of the two.

    Returns:
        Positions in `COLOUR_NAMES` of the ink and of the ground.

    Example:
        >>> ink, ground = draw_colour_pairs(100, np.random.default_rng(0), light_ink=1.0)
        >>> bool((luminance(PALETTE[ink]) > luminance(PALETTE[ground])).all())
        True
    """
    light = luminance(PALETTE)
    pairs = np.argwhere(light[:, None] - light[None, :] > contrast)  # the first of each pair is the lighter
    chosen = pairs[rng.integers(0, len(pairs), n)]
    is_light = rng.uniform(size=n) < light_ink
    return np.where(is_light, chosen[:, 0], chosen[:, 1]), np.where(is_light, chosen[:, 1], chosen[:, 0])


def paint(
    ink: Float32[np.ndarray, "n h w"],
    foreground: Float32[np.ndarray, "n #h #w 3"],
    ground: Float32[np.ndarray, "n #h #w 3"],
) -> Float32[np.ndarray, "n h w 3"]:
    """Mix two colours (or pictures) by the share of ink: ink x foreground + (1 - ink) x ground.

    Example:
        >>> half = np.full((1, 1, 1), 0.5, dtype=np.float32)
        >>> paint(half, PALETTE[None, None, 4:5], PALETTE[None, None, 5:6])
        array([[[[0.5, 0.5, 0.5]]]], dtype=float32)
    """
    return ground + ink[..., None] * (foreground - ground)
