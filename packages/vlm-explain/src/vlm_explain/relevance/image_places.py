"""Where the patches of images stand among the tokens of a language model."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from vlm_data.errors import CallError


@dataclasses.dataclass(frozen=True)
class ImagePlaces:
    """Positions of image tokens in the texts of a batch.

    Attributes:
        positions: of each patch, view after view, row by row.
        grid: rows and columns of a view.
    """

    positions: Int64[Tensor, "n views patches"]
    grid: tuple[int, int]


def image_places(
    ids: Int64[Tensor, "n length"], image_token: int, inputs: Mapping[str, Tensor], merge: int = 1
) -> ImagePlaces:
    """Return where the image tokens are, which stand in one unbroken run for every view of an image.

    A view is an image, or the part of one that was cut out for the model to see larger (Idefics 3, SmolVLM). Its grid
    is what `image_grid_thw` says (Qwen-VL), else a square.

    Args:
        ids: token ids.
        image_token: the id that stands for one image token.
        inputs: what the processor returned beside the ids.
        merge: patches along each side that were merged into one token, for `image_grid_thw`.

    Raises:
        CallError: if there are none, if the images of the batch differ in number or grid, or form no grid.

    Example:
        >>> image_places(torch.tensor([[1, 9, 9, 9, 9, 2]]), 9, {}).positions
        tensor([[[1, 2, 3, 4]]])
    """
    runs = [_runs(row) for row in ids.eq(image_token)]
    shapes = {tuple(len(run) for run in of_row) for of_row in runs}
    if () in shapes:
        raise CallError(
            f"there is a text without image tokens (id {image_token}); expected those of its image in every one. "
            "Build texts and images together with the processor of the model."
        )
    if len(shapes) > 1 or len(set(next(iter(shapes)))) > 1:
        raise CallError(
            f"the images of this batch have different grids: {sorted(shapes)} tokens per view. "
            "Expected the same for all; explain them one by one."
        )
    positions = torch.tensor(runs, device=ids.device)
    _check_views(inputs, positions.shape[0] * positions.shape[1])
    return ImagePlaces(positions, _grid(inputs, positions.shape[2], merge))


def _runs(is_image: Tensor) -> list[list[int]]:
    """Return the positions of unbroken runs of image tokens."""
    found: list[list[int]] = []
    for place in is_image.nonzero()[:, 0].tolist():
        if found and found[-1][-1] == place - 1:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def _check_views(inputs: Mapping[str, Tensor], views: int) -> None:
    """Refuse runs that are more or fewer than the images: two that follow each other would be taken for one."""
    grids, pixels = inputs.get("image_grid_thw"), inputs.get("pixel_values")
    count = views
    if grids is not None:
        count = len(grids)
    elif pixels is not None and pixels.ndim >= 4:
        count = math.prod(pixels.shape[:-3])
    if count != views:
        raise CallError(
            f"there are {count} views of images, but {views} unbroken runs of image tokens. Expected one run for each: "
            "models that join the tokens of several views, such as LLaVA-NeXT, cannot be explained this way."
        )


def _grid(inputs: Mapping[str, Tensor], tokens: int, merge: int) -> tuple[int, int]:
    grids = inputs.get("image_grid_thw")
    if grids is None:
        side = math.isqrt(tokens)
        rows, columns = side, side
    else:
        shapes = {tuple(int(value) for value in shape) for shape in grids.tolist()}
        if len(shapes) > 1:
            raise CallError(
                f"the images of this batch have different grids: {sorted(shapes)}; explain them one by one."
            )
        _, rows, columns = (shape // part for shape, part in zip(shapes.pop(), (1, merge, merge), strict=True))
    if rows * columns != tokens:
        raise CallError(
            f"{tokens} image tokens in a run form no grid of {rows} x {columns}. Expected one token per patch, "
            "without a class token among them."
        )
    return rows, columns


def merged_patches(config: Any) -> int:
    """Return how many patches along each side a vision tower merges into one token.

    Example:
        >>> import types
        >>> merged_patches(types.SimpleNamespace(vision_config=types.SimpleNamespace(spatial_merge_size=2)))
        2
    """
    return getattr(getattr(config, "vision_config", None), "spatial_merge_size", 1)
