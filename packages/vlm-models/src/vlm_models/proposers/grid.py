"""Equal parts of the image, row by row."""

import re

import numpy as np

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_models.proposals import Proposals, ProposerCall, ProposerInfo

INFO = ProposerInfo("Equal parts of the image in rows and columns; the quadrants by default.", "grid:ROWSxCOLUMNS")
_SHAPE = re.compile(r"(?P<rows>[1-9]\d*)x(?P<columns>[1-9]\d*)")
_LARGEST = 64


def propose(dataset: ImageDataset, call: ProposerCall) -> Proposals:
    """Return rows x columns boxes per image, top left first; the parts of an image cover it.

    Raises:
        CallError: if the source is not ROWSxCOLUMNS with numbers from 1 to 64.
    """
    match = _SHAPE.fullmatch(call.source or "2x2")
    if not match or max(int(match["rows"]), int(match["columns"])) > _LARGEST:
        raise CallError(
            f"grid:{call.source} is no grid; expected grid:ROWSxCOLUMNS with numbers from 1 to {_LARGEST}, for "
            "example grid:2x2."
        )
    rows, columns = int(match["rows"]), int(match["columns"])
    y, x = np.divmod(np.arange(rows * columns), columns)
    shares = np.stack([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], axis=1)
    sizes = np.array([dataset.image_size(index) for index in range(len(dataset))], dtype=np.float64).reshape(-1, 2)
    boxes = shares[None] * np.tile(sizes, 2)[:, None]
    return Proposals(np.repeat(np.arange(len(dataset)), rows * columns), boxes.reshape(-1, 4))
