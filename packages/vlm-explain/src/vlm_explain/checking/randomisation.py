"""Do maps depend on what the model learnt: they must change when its weights are randomised (Adebayo et al. 2018)."""

import copy
import dataclasses
import re
from collections.abc import Iterator

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from vlm_data.progress import Progress, silent
from vlm_explain.checking.batches import MapBatch, explain_in_batches
from vlm_explain.checking.similarity import rank_correlation, structural_similarity
from vlm_explain.relevance import RelevanceOptions
from vlm_models.classifier import Classifier

ALIKE = 0.5
"""Maps of the trained and the randomised model pass for the same if their mean rank correlation is above this."""
_BLOCK = re.compile(r"(?P<block>.*?\.\d+)(\.|$)")  # up to the first number: layers.11, resblocks.3, layer4.0


@dataclasses.dataclass(frozen=True)
class RandomisationCheck:
    """How alike maps stay while weights are randomised, from the head down.

    Attributes:
        stages: what was randomised last; everything above it was before.
        rank_correlation: with the maps of the trained model, mean over images after each stage; NaN if all are flat.
        structural_similarity: likewise, of maps stretched to [0, 1].
        flat: how many maps are undefined after each stage; they are left out of the means.
        between_images: mean rank correlation of the trained model's maps of different images: how alike maps are
            without having anything in common. NaN for a single image.
        n: number of images.
    """

    stages: tuple[str, ...]
    rank_correlation: tuple[float, ...]
    structural_similarity: tuple[float, ...]
    flat: tuple[int, ...]
    between_images: float
    n: int

    @property
    def passed(self) -> bool | None:
        """Do maps depend on the weights; None if no map of the randomised model is defined."""
        last = self.rank_correlation[-1]
        return None if last != last else last <= ALIKE

    @property
    def verdict(self) -> str:
        """What the numbers say, in one sentence."""
        last = self.rank_correlation[-1]
        if self.passed is None:
            return f"No map of the randomised model is defined ({self.n} images), so nothing can be compared."
        numbers = f"rank correlation {last:.2f} with all weights randomised"
        if self.passed:
            return f"Maps depend on what the model learnt: {numbers} ({self.n} images; above {ALIKE} they would not)."
        return f"Maps hardly depend on what the model learnt: {numbers} ({self.n} images; expected at most {ALIKE})."


def check_randomisation(
    model: Classifier,
    images: Tensor,
    labels: Int64[Tensor, " n"] | None,
    options: RelevanceOptions,
    *,
    seed: int = 0,
    batch_size: int = 64,
    progress: Progress = silent,
) -> RandomisationCheck:
    """Randomise the head, then the projection, then block after block of a copy of the model, and compare its maps.

    Weights are randomised by putting the values of every tensor in an order that is drawn: their distribution stays,
    so nothing overflows, and what they have learnt goes. The class that is explained stays the one of the trained
    model.

    Args:
        model: it stays as it is.
        images: (n, 3, h, w), uint8 or normalised already.
        labels: class of every image; None if the target is not the label.
        options: of the maps.
        seed: of the orders.
        batch_size: images at once.
        progress: told about stages.

    Raises:
        CallError: as for `vlm_explain.relevance.explain_batch`.
    """
    trained = explain_in_batches(model, images, labels, options, batch_size)
    fixed = trained.with_fixed_target(options)
    generator = torch.Generator().manual_seed(seed)
    work = copy.deepcopy(model)
    stages = list(_stages(work))
    found: list[tuple[float, float, int]] = []
    for done, (name, parameters) in enumerate(stages, start=1):
        for parameter in parameters:
            _shuffle(parameter, generator)
        found.append(_compared(trained, explain_in_batches(work, images, trained.targets, fixed, batch_size)))
        progress(f"randomising weights ({name})", done, len(stages))
    ranks, structures, flat = zip(*found, strict=True)
    between = rank_correlation(trained.raw, trained.raw.roll(1, dims=0))[~(trained.flat | trained.flat.roll(1))]
    return RandomisationCheck(
        tuple(name for name, _ in stages),
        ranks,
        structures,
        flat,
        float(between.mean()) if len(images) > 1 and len(between) else float("nan"),
        len(images),
    )


def _stages(model: Classifier) -> Iterator[tuple[str, list[nn.Parameter]]]:
    """Yield the parts of the way from pixels to logits, the last one first."""
    encoder = model.encoder
    blocks: dict[str, list[nn.Parameter]] = {}
    projection, rest = [], []
    for name, parameter in encoder.named_parameters():
        group, found = encoder.parameter_group(name), _BLOCK.match(name)
        if group == "vision projection":
            projection.append(parameter)
        elif group == "vision":
            (blocks.setdefault(found["block"], []) if found else rest).append(parameter)
    yield "head", list(model.head.parameters())
    if projection:
        yield "projection", projection
    for number, (_, parameters) in reversed(list(enumerate(blocks.items(), start=1))):
        yield f"block {number}", parameters
    if rest:
        yield "patch embedding and norms", rest


@torch.no_grad()
def _shuffle(parameter: nn.Parameter, generator: torch.Generator) -> None:
    order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
    parameter.copy_(parameter.flatten()[order].view_as(parameter))


def _compared(trained: MapBatch, randomised: MapBatch) -> tuple[float, float, int]:
    both = ~(trained.flat | randomised.flat)
    ranks = rank_correlation(trained.raw[both], randomised.raw[both])
    structure = structural_similarity(trained.maps[both], randomised.maps[both])
    return float(ranks.mean()), float(structure.mean()), int(randomised.flat.sum())
