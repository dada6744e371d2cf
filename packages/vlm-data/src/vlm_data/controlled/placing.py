"""Where a planted feature stands in an image."""

import numpy as np

from vlm_data.errors import CallError, unknown_name

RANDOM = "random"
PLACES = {
    "top-left": (0.0, 0.0),
    "top-right": (1.0, 0.0),
    "bottom-left": (0.0, 1.0),
    "bottom-right": (1.0, 1.0),
    "centre": (0.5, 0.5),
    RANDOM: None,
}
"""Position of the feature in the space that it may stand in, across and down; None is drawn for every image."""
MARGIN = 0.1
"""Of the side of the middle square, left free along its border: evaluation crops and training crops cut that away."""


def feature_box(
    width: int, height: int, place: str, size: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Return x1, y1, x2, y2 of a square for the feature; x2 and y2 are exclusive.

    It lies within the middle square of the image, which is what the centre crop of most models leaves, and off the
    border of it by a tenth where there is room.

    Args:
        width: of the image in pixels.
        height: of the image in pixels.
        place: one of `PLACES`.
        size: side of the feature as a fraction of the shorter side of the image, in (0, 1].
        rng: draws the position for `random`; not used otherwise.

    Raises:
        CallError: for another place or size.

    Example:
        >>> feature_box(60, 40, "top-left", 0.25, np.random.default_rng(0))
        (14, 4, 24, 14)
    """
    if place not in PLACES:
        raise unknown_name("place", place, PLACES)
    if not 0 < size <= 1:
        raise CallError(f"the size of the feature is {size:g}; expected a fraction of the shorter side, in (0, 1].")
    middle = min(width, height)
    side = max(1, round(size * middle))
    margin = min(round(MARGIN * middle), (middle - side) // 2)
    space = middle - side - 2 * margin
    position = PLACES[place]
    if position is None:
        across, down = (int(step) for step in rng.integers(0, space, size=2, endpoint=True))
    else:
        across, down = (round(share * space) for share in position)
    left, top = (width - middle) // 2 + margin + across, (height - middle) // 2 + margin + down
    return left, top, left + side, top + side
