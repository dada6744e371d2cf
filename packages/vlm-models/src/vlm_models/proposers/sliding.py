"""Windows of several sizes that slide over the image by half their width."""

import numpy as np
from jaxtyping import Float64

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_models.proposals import Proposals, ProposerCall, ProposerInfo

INFO = ProposerInfo(
    "Windows of given shares of width and height, half a window apart; 0.5,0.25 by default (58 per image).",
    "sliding:SHARE,SHARE",
)
_SHARES = "0.5,0.25"
_SMALLEST = 0.02


def propose(dataset: ImageDataset, call: ProposerCall) -> Proposals:
    """Return windows of all scales, the largest first, row by row; those of one scale cover the image.

    Raises:
        CallError: if the source is not a list of shares from 0.02 to 1.
    """
    windows = np.concatenate([_windows(share) for share in _shares(call.source or _SHARES)])
    sizes = np.array([dataset.image_size(index) for index in range(len(dataset))], dtype=np.float64).reshape(-1, 2)
    boxes = windows[None] * np.tile(sizes, 2)[:, None]
    return Proposals(np.repeat(np.arange(len(dataset)), len(windows)), boxes.reshape(-1, 4))


def _shares(source: str) -> list[float]:
    try:
        found = [float(part) for part in source.split(",")]
    except ValueError:
        found = []
    if not found or not all(_SMALLEST <= share <= 1 for share in found):
        raise CallError(
            f"sliding:{source} names no window sizes; expected shares of the sides of an image from {_SMALLEST} to 1, "
            "for example sliding:0.5,0.25."
        )
    return sorted(set(found), reverse=True)


def _windows(share: float) -> Float64[np.ndarray, "w 4"]:
    """Return the windows of one size as shares of the sides; the step is half a window, or a little less."""
    steps = int(np.ceil((1 - share) / (share / 2) - 1e-9))
    starts = np.linspace(0, 1 - share, steps + 1)
    y, x = (places.reshape(-1) for places in np.meshgrid(starts, starts, indexing="ij"))
    return np.stack([x, y, x + share, y + share], axis=1).clip(0, 1)
