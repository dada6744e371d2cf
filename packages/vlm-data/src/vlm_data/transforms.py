"""From a decoded image to the uint8 tensor a model is fed with; normalisation happens later, on the device."""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from vlm_data.errors import unknown_name
from vlm_data.preprocess import Preprocess

_pillow: Any = functional  # works on Pillow images too, its annotations know tensors only

AUGMENTATIONS = ("none", "crop")
_CROP_SCALE = (0.9, 1.0)
HALF = 128
"""A pixel of the model's input belongs to a mask if at least half of what it shows does."""


def evaluation_transform(image: Image.Image, preprocess: Preprocess) -> UInt8[Tensor, "3 size size"]:
    """Resize and crop the centre, as the published evaluation transforms do before `ToTensor`.

    Example:
        >>> evaluation_transform(Image.new("RGB", (64, 48)), Preprocess(32)).shape
        torch.Size([3, 32, 32])
    """
    return _pillow.pil_to_tensor(_evaluation_view(image, preprocess, preprocess.interpolation))


def _evaluation_view(image: Image.Image, preprocess: Preprocess, interpolation: str) -> Image.Image:
    mode, size = InterpolationMode(interpolation), preprocess.size
    if preprocess.resize == "squash":
        return _pillow.resize(image, [size, size], mode)
    return _pillow.center_crop(_pillow.resize(image, [preprocess.shorter_side], mode), [size, size])


def evaluation_mask(
    mask: Bool[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"], preprocess: Preprocess, *, level: int = HALF
) -> Bool[np.ndarray, "size size"]:
    """Move a mask to where `evaluation_transform` moves the pixels under it.

    It is resized bilinearly whatever the preprocessing says: bicubic weights overshoot at edges, and a mask has
    nothing but edges.

    Args:
        mask: of an image, True (255) on the evidence; levels between 0 and 255 are shares of it.
        preprocess: size and resize rule.
        level: a pixel belongs to the mask if it has at least this level after resizing, 1 to 255.

    Example:
        >>> evaluation_mask(np.eye(2, dtype=bool), Preprocess(4)).astype(int)
        array([[1, 1, 0, 0],
               [1, 1, 0, 0],
               [0, 0, 1, 1],
               [0, 0, 1, 1]])
    """
    levels = mask.astype(np.uint8) * 255 if mask.dtype == np.bool_ else mask
    return np.asarray(_evaluation_view(Image.fromarray(levels), preprocess, "bilinear")) >= level


def transform_boxes(
    boxes: Float64[np.ndarray, "k 4"], image_size: tuple[int, int], preprocess: Preprocess
) -> tuple[Float64[np.ndarray, "k 4"], Float64[np.ndarray, " k"]]:
    """Move boxes to where `evaluation_transform` moves the pixels under them.

    Args:
        boxes: x1, y1, x2, y2 in pixels of the original image; x2 and y2 are exclusive.
        image_size: width and height of the original image.
        preprocess: size and resize rule.

    Returns:
        Boxes in pixels of the model's input, cut at its borders, and the share of the area of each box that is left.

    Example:
        >>> transform_boxes(np.array([[0.0, 0.0, 40.0, 20.0]]), (40, 20), Preprocess(10))
        (array([[ 0.,  0., 10., 10.]]), array([0.5]))
    """
    width, height = image_size
    size = preprocess.size
    if preprocess.resize == "squash":
        scale, offset = np.array([size / width, size / height]), np.zeros(2)
    else:
        resized = np.array(resized_shape(width, height, preprocess.shorter_side))
        scale = resized / (width, height)
        offset = np.round((resized - size) / 2)  # as the centre crop of torchvision rounds
    return _cut(boxes.reshape(-1, 2, 2) * scale - offset, size)


def _cut(moved: Float64[np.ndarray, "k 2 2"], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut boxes at the borders of the model's input; return them and the share of the area of each that is left."""
    cut = moved.clip(0, size)
    areas = [np.prod(corners[:, 1] - corners[:, 0], axis=-1) for corners in (cut, moved)]
    share = np.divide(areas[0], areas[1], out=np.zeros(len(moved)), where=areas[1] > 0)
    return cut.reshape(-1, 4), share


def resized_shape(width: int, height: int, size: int) -> tuple[int, int]:
    """Return width and height after the shorter side was scaled to `size`, truncated as torchvision does.

    Example:
        >>> resized_shape(500, 375, 224)
        (298, 224)
    """
    short, long = sorted((width, height))
    other = int(size * long / short)
    return (size, other) if width <= height else (other, size)


def random_crop(
    image: Image.Image, preprocess: Preprocess, rng: np.random.Generator, scale: tuple[float, float] = _CROP_SCALE
) -> UInt8[Tensor, "3 size size"]:
    """Cut a random part and resize it: the training transform of WiSE-FT, FLYP and CaRot.

    The part has a share of the area drawn uniformly from `scale` and a log-uniform aspect ratio in [3/4, 4/3];
    after ten draws that do not fit, the largest centred part of allowed ratio is taken.

    Example:
        >>> random_crop(Image.new("RGB", (64, 48)), Preprocess(32), np.random.default_rng(0)).shape
        torch.Size([3, 32, 32])
    """
    return _resized_crop(image, preprocess, _draw_box(*image.size, rng, scale))


def _resized_crop(image: Image.Image, preprocess: Preprocess, part: tuple[int, int, int, int]) -> Tensor:
    mode = InterpolationMode(preprocess.interpolation)
    size = [preprocess.size, preprocess.size]
    return _pillow.pil_to_tensor(_pillow.resized_crop(image, *part, size, mode))


def _draw_box(
    width: int, height: int, rng: np.random.Generator, scale: tuple[float, float]
) -> tuple[int, int, int, int]:
    low, high = 3 / 4, 4 / 3
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(0, height - box_height + 1))
            return top, int(rng.integers(0, width - box_width + 1)), box_height, box_width
    box_width = min(width, round(height * high))
    box_height = min(height, round(width / low))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def training_transform(
    image: Image.Image, preprocess: Preprocess, augmentation: str, rng: np.random.Generator
) -> UInt8[Tensor, "3 size size"]:
    """Apply the named augmentation: `none` is the evaluation transform, `crop` is `random_crop`.

    Raises:
        CallError: if the name is unknown.
    """
    return training_view(image, np.zeros((0, 4)), preprocess, augmentation, rng)[0]


def training_view(
    image: Image.Image,
    boxes: Float64[np.ndarray, "k 4"],
    preprocess: Preprocess,
    augmentation: str,
    rng: np.random.Generator,
) -> tuple[UInt8[Tensor, "3 size size"], Float64[np.ndarray, "k 4"], Float64[np.ndarray, " k"]]:
    """Apply the named augmentation to an image and to boxes in it, as `training_transform` and `transform_boxes` do.

    Returns:
        The image, the boxes in its pixels, cut at its borders, and the share of the area of each that is left.

    Raises:
        CallError: if the name is unknown.

    Example:
        >>> box, rng = np.array([[0.0, 0.0, 32.0, 64.0]]), np.random.default_rng(0)
        >>> _, moved, share = training_view(Image.new("RGB", (64, 64)), box, Preprocess(32), "none", rng)
        >>> moved, share
        (array([[ 0.,  0., 16., 32.]]), array([1.]))
    """
    if augmentation == "none":
        return evaluation_transform(image, preprocess), *transform_boxes(boxes, image.size, preprocess)
    if augmentation == "crop":
        part = _draw_box(*image.size, rng, _CROP_SCALE)
        top, left, height, width = part
        scale = preprocess.size / np.array([width, height])
        moved = (boxes.reshape(-1, 2, 2) - np.array([left, top])) * scale
        return _resized_crop(image, preprocess, part), *_cut(moved, preprocess.size)
    raise unknown_name("augmentation", augmentation, AUGMENTATIONS)
