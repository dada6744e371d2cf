"""From the relevance of patches to a map over the pixels of the image."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

FLAT = 1e-6
"""A map whose values differ by less than this share of the largest says nothing: what differs is rounding."""


def heat_maps(
    raw: Float[Tensor, "n rows columns"], size: tuple[int, int]
) -> tuple[Float[Tensor, "n h w"], Bool[Tensor, " n"]]:
    """Enlarge maps to the pixels of the image and stretch each to [0, 1].

    Bilinear (corners not aligned), then `(m - min) / (max - min)` per image: the lowest pixel is 0, the highest 1.

    Args:
        raw: relevance per patch, any scale.
        size: height and width of the result in pixels.

    Returns:
        The maps in single precision, and which of them are undefined because the relevance is the same everywhere (no
        gradient, only negative products) or not finite; those are zero everywhere.

    Example:
        >>> import torch
        >>> maps, flat = heat_maps(torch.tensor([[[0.0, 2.0]], [[3.0, 3.0]]]), (1, 2))
        >>> maps.tolist(), flat.tolist()
        ([[[0.0, 1.0]], [[0.0, 0.0]]], [False, True])
    """
    large = functional.interpolate(raw.float()[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    largest = large.abs().amax(dim=(1, 2), keepdim=True)
    spread = high - low
    defined = (spread > FLAT * largest) & spread.isfinite()  # false for NaN
    maps = ((large - low) / spread).where(defined, 0.0)
    return maps, ~defined[:, 0, 0]
