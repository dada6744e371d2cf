"""Evidence of several images as the model sees them."""

import numpy as np
from jaxtyping import Bool, Integer

from vlm_data.dataset import ImageDataset
from vlm_data.preprocess import Preprocess
from vlm_data.transforms import HALF, evaluation_mask


def evaluation_masks(
    dataset: ImageDataset, rows: Integer[np.ndarray, " k"], preprocess: Preprocess, *, level: int = HALF
) -> tuple[Bool[np.ndarray, "k size size"], Bool[np.ndarray, " k"]]:
    """Return the evidence of images after the evaluation transform, and for which of them there is any.

    Args:
        dataset: the images.
        rows: positions in it.
        preprocess: of the model.
        level: see `vlm_data.transforms.evaluation_mask`.

    Returns:
        One mask per row, all False where nothing is known about the image, and whether something is. A mask of an
        image with evidence can be all False, too: its object is cropped away.

    Example:
        >>> from vlm_data import load_benchmark
        >>> masks, known = evaluation_masks(load_benchmark("digits").test, np.array([3, 5]), Preprocess(64))
        >>> masks.shape, known.tolist()
        ((2, 64, 64), [True, True])
    """
    masks = np.zeros((len(rows), preprocess.size, preprocess.size), dtype=bool)
    known = np.zeros(len(rows), dtype=bool)
    for place, row in enumerate(rows.tolist()):
        mask = dataset.evidence(row)
        if mask is not None:
            masks[place] = evaluation_mask(mask, preprocess, level=level)
            known[place] = True
    return masks, known
