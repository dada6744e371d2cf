"""Insertion and deletion: does the answer depend on what the map calls relevant (Petsiuk et al. 2018)."""

import dataclasses
import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vlm_data.errors import CallError, unknown_name
from vlm_models.classifier import Classifier
from vlm_models.interface import evaluating

BASELINES = ("blur", "mean")
_BLUR = 1 / 8
"""Standard deviation of the blur as a share of the image: 28 of 224 pixels leave colours, but no shape."""


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """How images are taken apart and put together.

    Attributes:
        steps: how many parts of equal size an image is removed or inserted in.
        insertion: what parts are inserted into: `blur`, the image blurred; `mean`, its mean colour. The published
            measure starts from a blurred image, because edges of inserted parts on an even ground look like objects.
        deletion: what takes the place of removed parts, as above; `mean` by default.
        seed: of the order of pixels whose relevance is the same.

    Raises:
        CallError: for another ground, or less than one step.
    """

    steps: int = 16
    insertion: str = "blur"
    deletion: str = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise CallError(f"an image cannot be perturbed in {self.steps} steps; expected at least 1.")
        for name in (self.insertion, self.deletion):
            if name not in BASELINES:
                raise unknown_name("ground of a perturbed image", name, BASELINES)


STANDARD = Perturbation()


@dataclasses.dataclass(frozen=True)
class Curves:
    """Probability of the target class while an image is perturbed, after 0, 1, ..., `steps` parts.

    Attributes:
        insertion: from the ground to the whole image, the most relevant parts first.
        deletion: from the whole image to the ground, the most relevant parts first.
    """

    insertion: Float[Tensor, "n points"]
    deletion: Float[Tensor, "n points"]

    @property
    def insertion_area(self) -> Float[Tensor, " n"]:
        """Area under the insertion curve, in [0, 1]: high if what the map finds first is enough for the answer."""
        return area_under(self.insertion)

    @property
    def deletion_area(self) -> Float[Tensor, " n"]:
        """Area under the deletion curve, in [0, 1]: low if the answer is lost with what the map finds first."""
        return area_under(self.deletion)


def area_under(curve: Float[Tensor, "n points"]) -> Float[Tensor, " n"]:
    """Return the area under curves over [0, 1] by the trapezoid rule, points equally spaced.

    Example:
        >>> area_under(torch.tensor([[1.0, 0.5, 0.0]]))
        tensor([0.5000])
    """
    return (curve[:, :-1] + curve[:, 1:]).mean(dim=1) / 2


@torch.no_grad()
def perturbation_curves(
    model: Classifier,
    images: Tensor,
    relevance: Float[Tensor, "n rows columns"],
    targets: Int64[Tensor, " n"],
    options: Perturbation = STANDARD,
    *,
    batch_size: int = 256,
) -> Curves:
    """Return the probability of a class while the most relevant parts are inserted, and while they are removed.

    Args:
        model: on the device of the images.
        images: (n, 3, h, w) uint8, or floating point and normalised already.
        relevance: of pixels or of patches: a grid laid over the image. Only its order matters; of equal values the
            order is drawn, the same for every image, so the curves of an image do not depend on the others.
        targets: class index of every image.
        options: steps, grounds and seed.
        batch_size: perturbed images that pass through the model together.

    Raises:
        CallError: if relevance or targets do not fit the images.

    Example:
        >>> from vlm_data import load_benchmark
        >>> from vlm_models import load_encoder
        >>> from vlm_models.zero_shot import zero_shot_classifier
        >>> digits = load_benchmark("digits", limit=4)
        >>> model = zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)
        >>> images = torch.from_numpy(digits.test.images).permute(0, 3, 1, 2)
        >>> curves = perturbation_curves(model, images, torch.rand(4, 4, 4), torch.zeros(4, dtype=torch.long))
        >>> curves.insertion.shape, torch.allclose(curves.insertion[:, -1], curves.deletion[:, 0], atol=1e-5)
        (torch.Size([4, 17]), True)
    """
    _check(images, relevance, targets)
    order = _positions(relevance, options.seed).to(images.device)
    order = order[:, *_units(relevance.shape[1:], images.shape[2:], images.device)]
    targets = targets.to(images.device)
    grounds = [ground(images, name) for name in (options.insertion, options.deletion)]
    units = relevance[0].numel()
    counts = torch.tensor([round(step * units / options.steps) for step in range(options.steps + 1)])
    found = torch.zeros(2, len(counts) * len(images), device=images.device)
    with evaluating(model):
        for jobs in _jobs(found.shape[1], batch_size):
            step, image = (jobs // len(images)).to(images.device), (jobs % len(images)).to(images.device)
            first = (order[image] < counts.to(images.device)[step][:, None, None])[:, None]
            whole = images[image]
            for row, mixed in enumerate(
                (torch.where(first, whole, grounds[0][image]), torch.where(first, grounds[1][image], whole))
            ):
                probabilities = model(mixed).float().softmax(dim=1)
                found[row, jobs.to(images.device)] = probabilities.gather(1, targets[image][:, None])[:, 0]
    insertion, deletion = found.unflatten(1, (len(counts), len(images))).transpose(1, 2)
    return Curves(insertion, deletion)


def ground(images: Tensor, kind: str) -> Tensor:
    """Return what is left of images when everything is taken away, of the same shape and type.

    Args:
        images: (n, 3, h, w).
        kind: `blur`, a Gaussian of 1/8 of each side, normalised at the borders; `mean`, the mean colour.

    Example:
        >>> ground(torch.tensor([0.0, 2.0]).view(1, 1, 1, 2), "mean").flatten()
        tensor([1., 1.])
    """
    values = images.float()
    if kind == "mean":
        values = values.mean(dim=(2, 3), keepdim=True).expand_as(values)
    else:
        rows, columns = (_blurring(side).to(values) for side in images.shape[2:])
        values = rows @ values @ columns.T
    return values.to(images.dtype) if images.is_floating_point() else values.round().to(images.dtype)


def random_relevance(count: int, grid: tuple[int, int], seed: int) -> Float[Tensor, "count rows columns"]:
    """Return maps that put parts in an order drawn for every image: what a map has to beat."""
    return torch.rand(count, *grid, generator=torch.Generator().manual_seed(seed))


def _blurring(side: int) -> Float[Tensor, "side side"]:
    """Return the matrix that blurs along one axis; rows sum to 1, so an even image stays as it is."""
    places = torch.arange(side, dtype=torch.float64)
    weights = torch.exp(-(((places[:, None] - places) / (side * _BLUR)) ** 2) / 2)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def _positions(relevance: Tensor, seed: int) -> Int64[Tensor, "n rows columns"]:
    """Return the place of every unit in the order of relevance, 0 for the most relevant."""
    flat = relevance.flatten(1)
    draw = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(flat.device)
    order = draw[flat[:, draw].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).view_as(relevance)


def _units(grid: torch.Size, size: torch.Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the row and column of the grid that every pixel lies in."""
    rows, columns = (torch.arange(side, device=device) * cells // side for cells, side in zip(grid, size, strict=True))
    return rows[:, None], columns


def _jobs(count: int, batch_size: int) -> Iterator[Tensor]:
    """Return which (step, image) pairs pass through the model together."""
    yield from torch.arange(count).split(max(1, math.ceil(count / math.ceil(count / batch_size))))


def _check(images: Tensor, relevance: Tensor, targets: Tensor) -> None:
    if images.ndim != 4 or relevance.ndim != 3 or not len(images) == len(relevance) == len(targets):
        raise CallError(
            f"images {tuple(images.shape)}, relevance {tuple(relevance.shape)} and targets {tuple(targets.shape)} do "
            "not fit; expected (n, 3, height, width), (n, rows, columns) and (n,)."
        )
    if any(cells > side for cells, side in zip(relevance.shape[1:], images.shape[2:], strict=True)):
        raise CallError(
            f"a map of {tuple(relevance.shape[1:])} is finer than images of {tuple(images.shape[2:])} pixels; expected "
            "at most one value per pixel."
        )
