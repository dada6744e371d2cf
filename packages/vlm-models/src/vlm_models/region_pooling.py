"""Features of images and of regions in them, inside the autograd graph: one rule for discovery and for training."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

from vlm_data.errors import CallError, unknown_name
from vlm_models.capabilities import require
from vlm_models.interface import DualEncoder
from vlm_models.region_attention import Pooled, encoded_alone, weighted_means
from vlm_models.region_batch import RegionBatch


def features_with_regions(
    encoder: DualEncoder,
    images: Tensor,
    boxes: Float[Tensor, "k 4"],
    image_of: Int64[Tensor, " k"],
    pooling: str = "masked",
) -> Pooled:
    """Return the features of images and of regions in them, both with gradients to the image tower.

    `attention`: the pooling of the tower itself, restricted to the region: the class token (or the pooling head) of the
    last layer sees itself and the patches of the region, each by the share that the region covers. `patch`: the mean of
    the patch tokens, weighted so, and projected. `roi`: RoIAlign (He et al. 2017) of the feature map, then the end of
    the tower (RegionCLIP, Zhong et al. 2022). These three take one pass, and a region is seen within its image: its
    patches have looked at all others, and may say what the image as a whole is taken for. Not so by the other two.
    `crop`: the region, enlarged to the size of an image, goes through the whole tower. `masked`: from the first layer
    on, the tower sees nothing but the patches of the region, at their size and place (so that its feature may tell the
    place, too); all quadrants of an image cost about as much as the image.

    Args:
        encoder: on the device of the images, in the mode it shall run in.
        images: (n, 3, h, w) uint8, or float images that are normalised already.
        boxes: x1, y1, x2, y2 in pixels of `images`, x2 and y2 exclusive; inside the image and with an area.
        image_of: position of the image of each region in `images`; in any order, an image may have none.
        pooling: one of `POOLINGS`.

    Returns:
        Raw features of the images, as `encode_image` returns them within rounding, and of the regions.

    Raises:
        CallError: for an unknown pooling, or boxes that do not fit the images.
        CapabilityError: if the image tower cannot be pooled this way.

    Example:
        >>> from vlm_models import load_encoder
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> boxes = torch.tensor([[0.0, 0, 16, 16], [16, 0, 32, 16], [0, 0, 32, 32]])
        >>> whole, parts = features_with_regions(load_encoder("tiny"), images, boxes, torch.tensor([1, 1, 0]))
        >>> whole.shape, parts.shape, torch.allclose(parts[2], whole[0], atol=1e-5)
        (torch.Size([2, 64]), torch.Size([3, 64]), True)
    """
    check_pooling(pooling)
    _check(images, boxes, image_of)
    if not len(boxes):
        features = encoder.encode_image(images)
        return features, features[:0]
    sides = torch.tensor([images.shape[-1], images.shape[-2]] * 2, device=images.device)
    regions = RegionBatch(boxes.to(images.device, torch.float32) / sides, image_of.to(images.device))
    return _POOLERS[pooling](encoder, images, regions)


def shares_head(encoder: DualEncoder, pooling: str) -> bool:
    """Return whether a region is pooled by the weights that pool a whole image.

    Where it is not, as with the mean of patch tokens of a tower that reads its class token, training moves image and
    region features by different parameters, and what regions are taught need not reach the image.

    Raises:
        CallError: for an unknown pooling.

    Example:
        >>> from vlm_models import load_encoder
        >>> [shares_head(load_encoder("tiny"), pooling) for pooling in ("attention", "crop", "masked", "patch", "roi")]
        [True, True, True, False, False]
    """
    check_pooling(pooling)
    return pooling in ("attention", "crop", "masked") or (pooling == "roi" and encoder.region_head_is_shared)


def check_pooling(pooling: str) -> None:
    """Raise for a pooling that does not exist.

    Raises:
        CallError: with the nearest name.
    """
    if pooling not in _POOLERS:
        raise unknown_name("region pooling", pooling, POOLINGS)


def _check(images: Tensor, boxes: Tensor, image_of: Tensor) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or image_of.shape != boxes.shape[:1]:
        raise CallError(
            f"regions do not fit together: boxes of shape {tuple(boxes.shape)}, images of shape "
            f"{tuple(image_of.shape)}; expected (k, 4) and (k,)."
        )
    if not len(boxes):
        return
    width, height = images.shape[-1], images.shape[-2]
    x1, y1, x2, y2 = boxes.unbind(1)
    right = (x1 >= 0) & (y1 >= 0) & (x2 > x1) & (y2 > y1) & (x2 <= width) & (y2 <= height)
    right &= (image_of >= 0).to(right.device) & (image_of < len(images)).to(right.device)
    if not bool(right.all()):
        first = int((~right).nonzero()[0])
        raise CallError(
            f"region {first} has the box {boxes[first].tolist()} in image {int(image_of[first])}; expected one of "
            f"{len(images)} images of {width} x {height} pixels, and a box with an area inside it."
        )


def _by_attention(encoder: DualEncoder, images: Tensor, regions: RegionBatch) -> Pooled:
    return encoder.attend_regions(images, regions)


def _by_patches(encoder: DualEncoder, images: Tensor, regions: RegionBatch) -> Pooled:
    if "tokens" not in encoder.capabilities:
        raise require(encoder, "tokens")
    output = encoder.vision_tokens(images)
    features = encoder.encode_image(images) if output.features is None else output.features
    means = weighted_means(output.patches.flatten(1, 2), output.grid, regions)
    return features, encoder.project_image(means)


def _by_masking(encoder: DualEncoder, images: Tensor, regions: RegionBatch) -> Pooled:
    stack = encoder.vision_stack(images)
    return encoder.encode_image(images), encoded_alone(lambda: encoder.encode_image(images), stack, regions)


def _by_roi(encoder: DualEncoder, images: Tensor, regions: RegionBatch) -> Pooled:
    if "tokens" not in encoder.capabilities:
        raise require(encoder, "tokens")
    features, maps = encoder.features_and_map(images)
    cut = _cut(maps, regions, encoder.region_size)
    return features, encoder.region_features(cut)


def _by_crop(encoder: DualEncoder, images: Tensor, regions: RegionBatch) -> Pooled:
    pixels = encoder.preprocess.normalise(images)
    if pixels.shape[-2] != pixels.shape[-1]:
        raise CallError(f"images of {tuple(pixels.shape[-2:])} pixels cannot be cropped to; expected square ones.")
    features = encoder.encode_image(torch.cat([pixels, _crops(pixels, regions)]))
    return features[: len(images)], features[len(images) :]


def _crops(pixels: Float[Tensor, "n 3 size size"], regions: RegionBatch) -> Float[Tensor, "k 3 size size"]:
    """Enlarge every region to the size of an image, bilinearly; no pixel outside a region has a part in it.

    Not by RoIAlign, which interpolates across the border of a box: where a region ends, its crop would show what is
    beside it. A region of the size of the image stays as it is.
    """
    size = pixels.shape[-1]
    low, high = (regions.boxes * size).float().split(2, dim=1)  # (k, 2): of columns, and of rows
    middle = (torch.arange(size, device=pixels.device) + 0.5) / size
    places = low[:, None] + (high - low)[:, None] * middle[:, None] - 0.5  # (k, size, 2) in pixel centres
    first, last = low, (high - 1).maximum(low)
    x, y = places.clamp(first[:, None], last[:, None]).add(0.5).mul(2 / size).sub(1).unbind(-1)
    grid = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], dim=-1)
    crops = functional.grid_sample(pixels.float()[regions.image_of], grid, padding_mode="border", align_corners=False)
    return crops.to(pixels.dtype)


def _cut(maps: Tensor, regions: RegionBatch, size: int) -> Float[Tensor, "k c size size"]:
    """Resample regions of maps to one size by RoIAlign."""
    cells = regions.cells((maps.shape[-2], maps.shape[-1])).float()
    numbered = torch.cat([regions.image_of[:, None].to(cells.dtype), cells], dim=1)
    return roi_align(maps.float(), numbered, size, sampling_ratio=0, aligned=True).to(maps.dtype)


_POOLERS: dict[str, Callable[[DualEncoder, Tensor, RegionBatch], Pooled]] = {
    "attention": _by_attention,
    "crop": _by_crop,
    "masked": _by_masking,
    "patch": _by_patches,
    "roi": _by_roi,
}
POOLINGS = tuple(_POOLERS)
"""Names of the ways to pool a region."""
