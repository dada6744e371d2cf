"""Put digits on a canvas: size, place, rotation, shear and elastic bending, for many images at once.

Coordinates are half-canvas units: the canvas spans [-1, 1] in x (right) and y (down). "Ink" is the share of a pixel
that the digit covers, in [0, 1]; images are made from ink by `vlm_data.digits.colours`.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32

CANVAS = 32
"""Side of a canvas in pixels."""
EVIDENCE_THRESHOLD = 0.25
"""A pixel is evidence when the digit covers more than this share of it."""
_GRID = 4
"""Elastic displacements are drawn on a grid of so many points per side."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where and how each of n digits lies on its canvas, see `draw_placement`.

    Attributes:
        size: (n,) longest side as a share of the canvas.
        width: (n,) factor on the width alone.
        shear: (n,) shift in x per unit of y.
        rotation: (n,) angle in radians, clockwise on the screen.
        centre: (n, 2) x and y of the centre.
        bend: (n, 2, 4, 4) elastic displacement in x and y at the grid points, or None.
    """

    size: Float32[np.ndarray, " n"]
    width: Float32[np.ndarray, " n"]
    shear: Float32[np.ndarray, " n"]
    rotation: Float32[np.ndarray, " n"]
    centre: Float32[np.ndarray, "n 2"]
    bend: Float32[np.ndarray, "n 2 4 4"] | None = None


def draw_placement(
    n: int,
    rng: np.random.Generator,
    *,
    size: tuple[float, float],
    rotation_degrees: float = 0.0,
    centred: bool = False,
    squeeze: float = 0.0,
    shear: float = 0.0,
    bend: float = 0.0,
) -> Placement:
    """Draw how n digits lie.

    Args:
        n: number of images.
        rng: the only source of randomness.
        size: range of the uniform longest side, as a share of the canvas.
        rotation_degrees: standard deviation of the normal rotation.
        centred: keep every digit in the middle, instead of uniformly anywhere that it fits without rotation.
        squeeze: largest share of the width that is taken away, uniform.
        shear: largest absolute shear, uniform.
        bend: standard deviation of the elastic displacements in half-canvas units; 0 for none.

    Example:
        >>> bool((draw_placement(2, np.random.default_rng(0), size=(0.5, 0.9), centred=True).centre == 0).all())
        True
    """
    side = rng.uniform(*size, n)
    width = 1 - squeeze * rng.uniform(size=n)
    slant = rng.uniform(-shear, shear, n)
    rotation = np.deg2rad(rng.normal(0, rotation_degrees, n))
    room = 0.0 if centred else (1 - side)[:, None]
    centre = rng.uniform(-1, 1, (n, 2)) * room
    grid = rng.normal(0, bend, (n, 2, _GRID, _GRID)).astype(np.float32) if bend else None
    side, width, slant, rotation, centre = (a.astype(np.float32) for a in (side, width, slant, rotation, centre))
    return Placement(side, width, slant, rotation, centre, grid)


def place(ink: Float32[np.ndarray, "n h w"], extent: float, placement: Placement) -> Float32[np.ndarray, "n 32 32"]:
    """Move the ink of n digits onto n canvases with bilinear interpolation; outside its frame a digit has no ink.

    Args:
        ink: one square frame per image.
        extent: longest side of a digit as a share of its frame; `Placement.size` refers to this side.
        placement: how each digit lies.

    Example:
        >>> still = draw_placement(1, np.random.default_rng(0), size=(1.0, 1.0), centred=True)
        >>> picture = np.eye(32, dtype=np.float32)[None]
        >>> bool(np.allclose(place(picture, 1.0, still), picture))
        True
    """
    axis = (np.arange(CANVAS, dtype=np.float32) * 2 + 1) / CANVAS - 1
    x = axis[None, None, :] - placement.centre[:, 0, None, None]
    y = axis[None, :, None] - placement.centre[:, 1, None, None]
    if placement.bend is not None:
        upsample = cubic_matrix(_GRID, CANVAS)
        rows = np.einsum("hi,ndij->ndhj", upsample, placement.bend)  # two steps without BLAS: same bits on any machine
        bend = np.einsum("ndhj,wj->ndhw", rows, upsample)
        x, y = x + bend[:, 0], y + bend[:, 1]
    cosine, sine = (f(placement.rotation)[:, None, None] for f in (np.cos, np.sin))
    across, down = cosine * x + sine * y, cosine * y - sine * x
    across = (across - placement.shear[:, None, None] * down) / placement.width[:, None, None]
    scale = (extent / placement.size)[:, None, None]
    return _sample(ink, across * scale, down * scale)


def _sample(
    ink: Float32[np.ndarray, "n h h"], x: Float32[np.ndarray, "n 32 32"], y: Float32[np.ndarray, "n 32 32"]
) -> Float32[np.ndarray, "n 32 32"]:
    side = ink.shape[1]
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))  # one empty pixel around, so that clipping finds no ink
    column = np.clip((x + 1) * (side / 2) + 0.5, 0, side + 0.999).astype(np.float32)
    row = np.clip((y + 1) * (side / 2) + 0.5, 0, side + 0.999).astype(np.float32)
    left, top = np.floor(column), np.floor(row)
    right_share, lower_share = column - left, row - top
    stride = side + 2
    first = (np.arange(len(ink)) * stride * stride)[:, None, None]
    start = first + top.astype(np.int64) * stride + left.astype(np.int64)
    flat = padded.ravel()
    upper = flat[start] * (1 - right_share) + flat[start + 1] * right_share
    lower = flat[start + stride] * (1 - right_share) + flat[start + stride + 1] * right_share
    return upper * (1 - lower_share) + lower * lower_share


def cubic_matrix(source: int, target: int) -> Float32[np.ndarray, "target source"]:
    """Return the matrix that enlarges a line of `source` pixels to `target` pixels by cubic convolution.

    Keys 1981 with a = -0.75, pixel centres aligned, borders repeated; rows sum to one.

    Example:
        >>> bool(np.allclose(cubic_matrix(8, 28).sum(axis=1), 1))
        True
    """
    a = -0.75
    position = (np.arange(target) + 0.5) * source / target - 0.5
    matrix = np.zeros((target, source))
    for offset in (-1, 0, 1, 2):
        tap = np.floor(position).astype(int) + offset
        d = np.abs(position - tap)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * (d**3 - 5 * d**2 + 8 * d - 4)
        np.add.at(matrix, (np.arange(target), np.clip(tap, 0, source - 1)), np.where(d <= 1, near, far))
    return matrix.astype(np.float32)


def evidence(ink: Float32[np.ndarray, "n h w"]) -> Bool[np.ndarray, "n h w"]:
    """Return the pixels that a right answer should rest on: where the digit covers more than a quarter."""
    return ink > EVIDENCE_THRESHOLD
