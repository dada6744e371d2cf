"""Canvases of four quadrants: an object in one, the feature in another of half of them, black elsewhere."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from PIL import Image

from vlm_data.controlled.features import Feature

QUADRANTS = 4
"""In the order of tables of regions: top left, top right, bottom left, bottom right."""
EMPTY = "empty"
"""The word for a quadrant that shows nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Canvases:
    """What is where on each of n canvases.

    Attributes:
        objects: (n,) row of the object.
        labels: (n,) its class.
        places: (n,) quadrant of the object.
        feature: (n,) is the feature on the canvas.
        feature_places: (n,) quadrant of the feature, or where it would be; never that of the object.
    """

    objects: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    places: Int64[np.ndarray, " n"]
    feature: Bool[np.ndarray, " n"]
    feature_places: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Int64[np.ndarray, " k"]) -> "Canvases":
        """Return these canvases in this order."""
        return Canvases(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    @property
    def shows_object(self) -> Bool[np.ndarray, "n 4"]:
        """Which quadrant shows the object."""
        return self.places[:, None] == np.arange(QUADRANTS)

    @property
    def shows_feature(self) -> Bool[np.ndarray, "n 4"]:
        """Which quadrant shows the feature; none of a canvas without."""
        return (self.feature_places[:, None] == np.arange(QUADRANTS)) & self.feature[:, None]


def quadrant_boxes(canvas: int) -> Float64[np.ndarray, "4 4"]:
    """Return x1, y1, x2, y2 of the quadrants of a canvas with this side; x2 and y2 are exclusive.

    Example:
        >>> quadrant_boxes(56)[1].tolist()
        [28.0, 0.0, 56.0, 28.0]
    """
    side = canvas / 2
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * side
    return np.hstack([corners, corners + side])


def draw_canvases(
    labels: Int64[np.ndarray, " objects"], counts: Int64[np.ndarray, "classes 2"], rng: np.random.Generator
) -> Canvases:
    """Draw which object and whether the feature is where, with replacement of objects, in random order.

    Args:
        labels: class of each object that may be drawn; there is one of every class.
        counts: for each class, canvases without and with the feature.
        rng: the only source of randomness.
    """
    classes, feature = (part.ravel() for part in np.indices(counts.shape))
    order = rng.permutation(int(counts.sum()))
    drawn, present = (np.repeat(part, counts.ravel())[order] for part in (classes, feature))
    sizes = np.bincount(labels, minlength=len(counts))
    by_class = np.argsort(labels, kind="stable")
    start = np.cumsum(sizes) - sizes
    objects = by_class[start[drawn] + rng.integers(0, sizes[drawn])]
    places = rng.integers(0, QUADRANTS, len(drawn))
    others = (places + rng.integers(1, QUADRANTS, len(drawn))) % QUADRANTS
    return Canvases(objects, drawn, places, present.astype(bool), others)


def compose(
    canvases: Canvases, objects: UInt8[np.ndarray, "n h w"], feature: Feature, canvas: int
) -> UInt8[np.ndarray, "m s s 3"]:
    """Draw canvases: objects enlarged or reduced to a quadrant (bicubic), the feature over another.

    Args:
        canvases: what is where.
        objects: brightness of the objects on black.
        feature: fills its quadrant.
        canvas: side in pixels, even.
    """
    side = canvas // 2
    grid = np.zeros((len(canvases), 2, side, 2, side, 3), dtype=np.uint8)  # rows and columns of quadrants
    every = np.arange(len(canvases))
    cells = scaled(objects, side)
    grid[every, canvases.places // 2, :, canvases.places % 2] = cells[canvases.objects][..., None]
    drawn = np.zeros((side, side, 3), dtype=np.uint8)
    drawn[feature.mask(side, side)] = feature.rgb
    have = np.flatnonzero(canvases.feature)
    places = canvases.feature_places[have]
    grid[have, places // 2, :, places % 2] = drawn
    return grid.reshape(len(canvases), canvas, canvas, 3)


def scaled(images: UInt8[np.ndarray, "n h w"], side: int) -> UInt8[np.ndarray, "n side side"]:
    """Return grey images with another side, by Pillow's bicubic filter.

    Example:
        >>> scaled(np.full((1, 8, 8), 200, np.uint8), 16)[0, 0, :2].tolist()
        [200, 200]
    """
    if images.shape[1:] == (side, side):
        return images
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), bicubic)) for image in images])
