"""Features of regions for a whole data set: every image is decoded and encoded once, and kept on disk if wished."""

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from vlm_data.dataset import ImageDataset
from vlm_data.files import text_hash
from vlm_data.loading import Batch
from vlm_data.progress import Progress, silent
from vlm_data.regions import check_boxes
from vlm_data.transforms import transform_boxes
from vlm_models.feature_cache import cache_file, feature_facts, read_features, write_features
from vlm_models.inference import EVALUATION_BATCH, map_batches
from vlm_models.interface import DualEncoder, evaluating
from vlm_models.region_pooling import check_pooling, features_with_regions


def region_features(
    model: DualEncoder,
    dataset: ImageDataset,
    rows: Int64[np.ndarray, " k"],
    boxes: Float64[np.ndarray, "k 4"],
    pooling: str = "crop",
    *,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int = EVALUATION_BATCH,
    progress: Progress = silent,
) -> Float32[np.ndarray, "k d"]:
    """Return the feature of every region, pooled by the rule that training uses, `features_with_regions`.

    Args:
        model: on the device where it shall run.
        dataset: the images; the evaluation transform of the model is applied to them and their boxes.
        rows: which image of the data set each region lies in.
        boxes: x1, y1, x2, y2 in pixels of the images, x2 and y2 exclusive.
        pooling: see `features_with_regions`. A crop is cut out of the model's input; for one in the full resolution of
            the image, extract the features of a `vlm_data.regions.CroppedDataset`.
        cache: folder for the result; one that belongs to the same weights, preprocessing, images, split, boxes and
            pooling is not computed again.
        batch_size: images at a time, of each process.
        progress: told about batches.

    Returns:
        Raw features, one row per region; NaN for a region that the resize rule of the model cuts away (centre crop).

    Raises:
        CallError: if rows and boxes do not describe regions of these images, or for an unknown pooling.
        CapabilityError: if the image tower cannot be pooled this way.

    Example:
        >>> from vlm_data import load_benchmark
        >>> from vlm_models import load_encoder
        >>> digits = load_benchmark("digits", limit=2).test
        >>> halves = np.array([[0, 0, 16, 32], [16, 0, 32, 32]], dtype=float)
        >>> region_features(load_encoder("tiny"), digits, np.array([1, 1]), halves).shape
        (2, 64)
    """
    check_pooling(pooling)
    rows, boxes = check_boxes(dataset, rows, boxes)
    if not cache:
        return _compute(model, dataset, rows, boxes, pooling, batch_size, progress)
    regions = text_hash(rows.tobytes().hex(), boxes.tobytes().hex())
    facts = {**feature_facts(model, dataset), "regions": regions, "pooling": pooling}
    place = cache_file(Path(cache), facts, "regions")
    found = read_features(place)
    if found is None:
        found = _compute(model, dataset, rows, boxes, pooling, batch_size, progress)
        write_features(place, found, {**facts, "reading": "regions"})
    return found


def _compute(
    model: DualEncoder,
    dataset: ImageDataset,
    rows: Int64[np.ndarray, " k"],
    boxes: Float64[np.ndarray, "k 4"],
    pooling: str,
    batch_size: int,
    progress: Progress,
) -> Float32[np.ndarray, "k d"]:
    """Encode every image that has a region once and pool its regions."""
    used, place = np.unique(rows, return_inverse=True)
    images = dataset.select(used.tolist())
    order = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[order], np.arange(len(used) + 1))

    def compute(batch: Batch) -> tuple[Tensor, Tensor]:
        numbers = batch.indices.tolist()
        found = [order[bounds[index] : bounds[index + 1]] for index in numbers]
        moved = [
            transform_boxes(boxes[regions], images.image_size(index), model.preprocess)
            for index, regions in zip(numbers, found, strict=True)
        ]
        seen = torch.from_numpy(np.concatenate([share for _, share in moved]) > 0).to(batch.images.device)
        inputs = torch.from_numpy(np.concatenate([box for box, _ in moved])).to(batch.images.device, torch.float32)
        image_of = torch.from_numpy(np.repeat(np.arange(len(found)), [len(regions) for regions in found]))
        image_of = image_of.to(batch.images.device)
        _, pooled = features_with_regions(model, batch.images, inputs[seen], image_of[seen], pooling)
        features = pooled.new_full((len(inputs), pooled.shape[1]), torch.nan)
        features[seen] = pooled
        return torch.from_numpy(np.concatenate(found)), features

    device = next(model.parameters()).device
    with evaluating(model):
        return map_batches(compute, images, model.preprocess, device=device, batch_size=batch_size, progress=progress)
