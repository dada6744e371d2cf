"""Evidence masks in the units a model sees: shares of its image patches."""

import numpy as np
from jaxtyping import Bool, Float

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError


def patch_shares(mask: Bool[np.ndarray, "h w"], grid: tuple[int, int]) -> Float[np.ndarray, "rows columns"]:
    """Return for every patch of a grid the share of its area that is evidence.

    A pixel that lies on a border between patches counts for each with the part that lies in it, so the shares times
    the patch areas always sum to the area of the mask, whatever grid and image size.

    Args:
        mask: what a right answer should rest on, in pixels.
        grid: patches per column and per row, for example (7, 7) for a ViT-B/32 at 224 pixels.

    Returns:
        (rows, columns) values in [0, 1].

    Raises:
        CallError: if the mask is empty in size or the grid has no patch.

    Example:
        >>> mask = np.zeros((4, 4), dtype=bool)
        >>> mask[:2, :3] = True
        >>> patch_shares(mask, (2, 2))
        array([[1. , 0.5],
               [0. , 0. ]])
    """
    if min(*mask.shape, *grid) < 1:
        raise CallError(
            f"a mask of {mask.shape} pixels cannot be laid on a grid of {grid} patches; expected at least 1 each."
        )
    rows, columns = (_overlap(size, patches) for size, patches in zip(mask.shape, grid, strict=True))
    return rows @ mask.astype(np.float64) @ columns.T


def _overlap(size: int, patches: int) -> Float[np.ndarray, "patches size"]:
    """Return which share of each patch along one axis every pixel covers; rows sum to 1."""
    pixels = np.arange(size)
    edges = np.arange(patches + 1) * (size / patches)
    covered = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    return np.clip(covered, 0, None) / (size / patches)


def evidence_area(dataset: ImageDataset) -> Float[np.ndarray, " n"]:
    """Return for every image the share of its area that is evidence; NaN where it is not known.

    It is what a map that looks everywhere alike would score, so it belongs beside every rationale.

    Example:
        >>> from vlm_data import load_benchmark
        >>> area = evidence_area(load_benchmark("digits").test)
        >>> bool((0 < area).all() and (area < 1).all())
        True
    """
    masks = (dataset.evidence(index) for index in range(len(dataset)))
    return np.array([np.nan if mask is None else mask.mean() for mask in masks])
