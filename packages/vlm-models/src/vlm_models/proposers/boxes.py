"""The boxes of a table of regions: the data set's own, or those of a file."""

import numpy as np

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.tables.regions import Regions
from vlm_models.proposals import Proposals, ProposerCall, ProposerInfo

INFO = ProposerInfo("Boxes of a table of regions, of the data set itself if no file is named.", "boxes, boxes:FILE")


def propose(dataset: ImageDataset, call: ProposerCall) -> Proposals:
    """Return the boxes of the images that the data set has; an image may have none.

    Raises:
        CallError: if there is no table, or none of its regions lies in one of these images.
        VlmDataError: if the file is no table of regions.
    """
    regions = Regions.load(call.source) if call.source else call.regions
    if regions is None:
        raise CallError(
            f"{dataset.name} ({dataset.split}) comes without boxes; expected a data set that has its own, or a table "
            "of regions. Write boxes:FILE, or take grid:2x2."
        )
    chosen, rows = regions_of(dataset, regions)
    return Proposals(rows, chosen.boxes)


def regions_of(dataset: ImageDataset, regions: Regions) -> tuple[Regions, np.ndarray]:
    """Return the regions that lie in images of a data set, and the row of the image of each.

    A table may be of all splits, or of more images than were chosen.

    Raises:
        CallError: if there is none.
    """
    rows = regions.rows_of(dataset.ids)
    found = np.flatnonzero(rows >= 0)
    if not len(found):
        shown = f", the first in {regions.image_ids[0]!r}" if len(regions) else ""
        own = f", whose first is {dataset.ids[0]!r}" if len(dataset) else ", of which there is none"
        raise CallError(
            f"none of {len(regions)} regions lies in an image of {dataset.name} ({dataset.split}){shown}; expected "
            f"regions of these images{own}. Name the table of this data set."
        )
    return (regions, rows) if len(found) == len(rows) else (regions.select(found), rows[found])
