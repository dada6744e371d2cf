"""Does the answer depend on what maps call relevant: deleting it must hurt more than deleting parts at random."""

import dataclasses
import math

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vlm_data.progress import Progress, silent
from vlm_explain.checking.batches import explain_in_batches
from vlm_explain.rationale.perturbation import STANDARD, Curves, Perturbation, perturbation_curves, random_relevance
from vlm_explain.relevance import RelevanceOptions
from vlm_models.classifier import Classifier

_QUANTILE = 1.959964
"""Of the normal distribution: 95 % lie within so many standard errors."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Area under a curve in the order of the map and in random order, means over images.

    Attributes:
        by_map: parts in the order of relevance.
        at_random: parts in an order that is drawn.
        low: lower end of the 95 % interval of `by_map - at_random` (paired over images, normal approximation).
        high: upper end.
    """

    by_map: float
    at_random: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class DeletionCheck:
    """What deleting and inserting parts of the images does to the probability of the class that is explained.

    Attributes:
        deletion: low is good.
        insertion: high is good.
        n: images with a defined map.
        flat: images without, left out.
    """

    deletion: Comparison
    insertion: Comparison
    n: int
    flat: int

    @property
    def passed(self) -> bool | None:
        """Is deletion by the map worse for the answer than at random; None if it cannot be told apart from chance."""
        return True if self.deletion.high < 0 else False if self.deletion.low > 0 else None

    @property
    def verdict(self) -> str:
        """What the numbers say, in one sentence."""
        if not self.n:
            return f"All {self.flat} maps are undefined, so there is no order to delete in."
        areas = f"area under the deletion curve {self.deletion.by_map:.3f} against {self.deletion.at_random:.3f}"
        numbers = f"{areas} in random order, difference {self.deletion.low:+.3f} to {self.deletion.high:+.3f}"
        claim = {
            True: "The answer depends on what maps call relevant",
            False: "The answer depends less on what maps call relevant than on the rest of the image",
            None: "Whether the answer depends on what maps call relevant cannot be told apart from chance",
        }[self.passed]
        return f"{claim}: {numbers} ({self.n} images)."


def check_deletion(
    model: Classifier,
    images: Tensor,
    labels: Int64[Tensor, " n"] | None,
    options: RelevanceOptions,
    *,
    perturbation: Perturbation = STANDARD,
    orders: int = 4,
    batch_size: int = 64,
    progress: Progress = silent,
) -> DeletionCheck:
    """Delete and insert the parts of the map in its order and in random orders.

    Parts are the patches that relevance is known for, in both cases: random single pixels would be another
    comparison, which loses much less of an image at a time.

    Args:
        model: it stays as it is.
        images: (n, 3, h, w), uint8 or normalised already.
        labels: class of every image; None if the target is not the label.
        options: of the maps.
        perturbation: steps, grounds and seed.
        orders: random orders per image; their mean is compared.
        batch_size: images at once.
        progress: told about orders.

    Raises:
        CallError: as for `vlm_explain.relevance.explain_batch`.
    """
    explained = explain_in_batches(model, images, labels, options, batch_size)
    kept = ~explained.flat
    raw, targets = explained.raw[kept], explained.targets[kept]
    shown = images[kept.to(images.device)].to(model.head.weight.device)
    if not len(shown):
        nothing = Comparison(*[math.nan] * 4)
        return DeletionCheck(nothing, nothing, 0, len(images))
    own = perturbation_curves(model, shown, raw, targets, perturbation)
    drawn: list[Curves] = []
    for order in range(orders):
        relevance = random_relevance(len(shown), (raw.shape[1], raw.shape[2]), perturbation.seed + 1 + order)
        drawn.append(perturbation_curves(model, shown, relevance, targets, perturbation))
        progress("deleting in random order", order + 1, orders)
    return DeletionCheck(
        _compared(own.deletion_area, torch.stack([curves.deletion_area for curves in drawn])),
        _compared(own.insertion_area, torch.stack([curves.insertion_area for curves in drawn])),
        len(shown),
        len(images) - len(shown),
    )


def _compared(by_map: Tensor, at_random: Tensor) -> Comparison:
    first, second = by_map.double().cpu(), at_random.double().cpu().mean(dim=0)
    low, high = _interval(first - second)
    return Comparison(float(first.mean()), float(second.mean()), low, high)


def _interval(differences: Float64[Tensor, " n"]) -> tuple[float, float]:
    mean = float(differences.mean())
    if len(differences) < 2:
        return -math.inf, math.inf  # one image tells nothing about others
    error = float(differences.std()) / math.sqrt(len(differences))
    return mean - _QUANTILE * error, mean + _QUANTILE * error
