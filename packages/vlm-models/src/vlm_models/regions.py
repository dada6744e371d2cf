"""Embeddings of parts of images, in the space of whole images: by crop, by RoI pooling, by pooling of patch tokens.

The three answer different questions. A crop is seen without its surroundings, at the full resolution of the model. RoI
pooling and patch pooling see the region as the model sees it within the whole image, and need one pass per image, not
per region.
"""

import os
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor
from torchvision.ops import roi_align

from vlm_data.dataset import ImageDataset
from vlm_data.loading import Batch
from vlm_data.progress import Progress, silent
from vlm_data.regions import CroppedDataset, check_boxes
from vlm_data.transforms import transform_boxes
from vlm_models.capabilities import require
from vlm_models.features import extract_features
from vlm_models.inference import EVALUATION_BATCH, map_batches
from vlm_models.interface import DualEncoder, evaluating

Pool = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(maps (n, c, h, w), image of each box (k,), boxes (k, 4) in cells of the map) -> features (k, d)."""


def crop_embeddings(
    model: DualEncoder,
    dataset: ImageDataset,
    rows: Int64[np.ndarray, " k"],
    boxes: Float64[np.ndarray, "k 4"],
    *,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int = EVALUATION_BATCH,
    progress: Progress = silent,
) -> Float32[np.ndarray, "k d"]:
    """Cut every region out of its image and encode it like an image of its own.

    Args:
        model: on the device where it shall run.
        dataset: the images.
        rows: which image of the data set each region lies in.
        boxes: x1, y1, x2, y2 in pixels of the images, x2 and y2 exclusive.
        cache: folder for the result, see `extract_features`.
        batch_size: of each process.
        progress: told about batches.

    Returns:
        Raw image features, one row per region.

    Raises:
        CallError: if rows and boxes do not describe regions of these images.
    """
    regions = CroppedDataset(dataset, rows, boxes)
    return extract_features(model, regions, cache=cache, batch_size=batch_size, progress=progress)["feature"]


def roi_embeddings(
    model: DualEncoder,
    dataset: ImageDataset,
    rows: Int64[np.ndarray, " k"],
    boxes: Float64[np.ndarray, "k 4"],
    *,
    batch_size: int = EVALUATION_BATCH,
    progress: Progress = silent,
) -> Float32[np.ndarray, "k d"]:
    """Cut regions out of the feature map by RoIAlign (He et al. 2017) and let the end of the tower pool them.

    Of a ResNet the map is that before the last stage, and the tower's own last stage and attention pooling follow
    (RegionCLIP, Zhong et al. 2022); of a vision transformer it is the grid of patch tokens, whose mean is projected.

    Returns:
        Raw features; NaN for a region that the resize rule of the model cuts away entirely (centre crop).

    Raises:
        CapabilityError: if the image tower has no feature map.
        CallError: as for `crop_embeddings`.
    """

    def pool(maps: Tensor, images: Tensor, cells: Tensor) -> Tensor:
        numbered = torch.cat([images[:, None].to(cells.dtype), cells], dim=1)
        cut = roi_align(maps, numbered, model.region_size, sampling_ratio=0, aligned=True)
        return model.region_features(cut)

    return _pooled_regions(model, dataset, rows, boxes, pool, batch_size, progress)


def patch_embeddings(
    model: DualEncoder,
    dataset: ImageDataset,
    rows: Int64[np.ndarray, " k"],
    boxes: Float64[np.ndarray, "k 4"],
    *,
    batch_size: int = EVALUATION_BATCH,
    progress: Progress = silent,
) -> Float32[np.ndarray, "k d"]:
    """Average the patch tokens under a region, each by the share of its patch that the region covers, and project.

    Returns:
        Raw features; NaN for a region that the resize rule of the model cuts away entirely (centre crop).

    Raises:
        CapabilityError: if the image tower gives no tokens.
        CallError: as for `crop_embeddings`; also if the tower ends in no linear map.
    """

    def pool(maps: Tensor, images: Tensor, cells: Tensor) -> Tensor:
        weights = box_coverage(cells, maps.shape[-2], maps.shape[-1])
        means = torch.einsum("kchw,khw->kc", maps[images], weights / weights.sum(dim=(1, 2), keepdim=True))
        return model.project_image(means)

    def patches(images: Tensor) -> Tensor:
        return model.vision_tokens(images).patches.permute(0, 3, 1, 2)

    return _pooled_regions(model, dataset, rows, boxes, pool, batch_size, progress, patches)


def box_coverage(cells: Float[Tensor, "k 4"], rows: int, columns: int) -> Float[Tensor, "k rows columns"]:
    """Return how much of every cell of a grid each box covers, in [0, 1].

    Args:
        cells: x1, y1, x2, y2 in cells.
        rows: of the grid.
        columns: of the grid.

    Example:
        >>> box_coverage(torch.tensor([[0.5, 0.0, 2.0, 1.0]]), 1, 3)
        tensor([[[0.5000, 1.0000, 0.0000]]])
    """

    def along(low: Tensor, high: Tensor, count: int) -> Tensor:
        start = torch.arange(count, device=cells.device, dtype=cells.dtype)
        return (torch.minimum(high[:, None], start + 1) - torch.maximum(low[:, None], start)).clamp(min=0)

    x1, y1, x2, y2 = cells.unbind(1)
    return along(y1, y2, rows)[:, :, None] * along(x1, x2, columns)[:, None, :]


def _pooled_regions(
    model: DualEncoder,
    dataset: ImageDataset,
    rows: Int64[np.ndarray, " k"],
    boxes: Float64[np.ndarray, "k 4"],
    pool: Pool,
    batch_size: int,
    progress: Progress,
    feature_map: Callable[[Tensor], Tensor] | None = None,
) -> Float32[np.ndarray, "k d"]:
    """Encode every image that has a region once and pool its regions."""
    if "tokens" not in model.capabilities:
        raise require(model, "tokens")
    rows, boxes = check_boxes(dataset, rows, boxes)
    used, place = np.unique(rows, return_inverse=True)
    images = dataset.select(used.tolist())
    order = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[order], np.arange(len(used) + 1))
    compute_map = feature_map or model.region_map

    def compute(batch: Batch) -> tuple[Tensor, Tensor]:
        found = [order[bounds[index] : bounds[index + 1]] for index in batch.indices.tolist()]
        moved = [
            transform_boxes(boxes[regions], images.image_size(index), model.preprocess)
            for index, regions in zip(batch.indices.tolist(), found, strict=True)
        ]
        maps = compute_map(batch.images)
        scale = maps.new_tensor([maps.shape[-1], maps.shape[-2]] * 2) / model.preprocess.size
        cells = torch.from_numpy(np.concatenate([box for box, _ in moved])).to(maps) * scale
        visible = torch.from_numpy(np.concatenate([share for _, share in moved]) > 0).to(maps.device)
        counts = torch.tensor([len(regions) for regions in found], device=maps.device)
        images_of = torch.repeat_interleave(torch.arange(len(found), device=maps.device), counts)
        features = pool(maps, images_of, cells)
        features[~visible] = torch.nan
        return torch.from_numpy(np.concatenate(found)), features

    device = next(model.parameters()).device
    with evaluating(model):
        return map_batches(compute, images, model.preprocess, device=device, batch_size=batch_size, progress=progress)
