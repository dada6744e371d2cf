"""Colours of relevance: a scale whose lightness rises evenly, so that the eye reads it as more and less."""

import numpy as np
from jaxtyping import Float, UInt8

_ANCHORS = ("#2a1158", "#6d1f7d", "#b02f74", "#e5554f", "#fb9234", "#fbd24b", "#fff7b0")
_PLACES = (0.0, 0.2, 0.369, 0.534, 0.701, 0.871, 1.0)
"""Of the anchors on the scale: proportional to their lightness (OKLab)."""

EVIDENCE = "#00c8e8"
"""Outlines of evidence: a hue that the scale does not have."""
INK, PAPER, FAINT = "#1b1f24", "#ffffff", "#5c6670"
RIGHT, WRONG = "#00664b", "#a63a00"
"""Of words that say so too: nobody has to tell them apart by colour."""


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of `#rrggbb`.

    Example:
        >>> rgb("#ff8000")
        (255, 128, 0)
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def heat_colours(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
    """Return the colours of relevance, from dark violet (0) over red to light yellow (1).

    Example:
        >>> heat_colours(np.array([0.0, 1.0])).tolist()
        [[42, 17, 88], [255, 247, 176]]
    """
    anchors = np.array([rgb(colour) for colour in _ANCHORS], dtype=np.float64)
    channels = [np.interp(values, _PLACES, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
