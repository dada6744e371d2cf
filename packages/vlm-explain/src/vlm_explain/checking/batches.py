"""Relevance maps of many images, on the CPU."""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vlm_explain.relevance import RelevanceOptions, explain_batch
from vlm_explain.relevance.options import CONTRAST, LABEL
from vlm_models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class MapBatch:
    """Maps of images, see `vlm_explain.relevance.Explained`, and the class each is about."""

    maps: Float[Tensor, "n h w"]
    raw: Float[Tensor, "n rows columns"]
    flat: Bool[Tensor, " n"]
    targets: Int64[Tensor, " n"]

    def with_fixed_target(self, options: RelevanceOptions) -> RelevanceOptions:
        """Return options under which another model explains the same classes, given `targets` as labels."""
        return options if options.target == CONTRAST else dataclasses.replace(options, target=LABEL)


def explain_in_batches(
    model: Classifier, images: Tensor, labels: Int64[Tensor, " n"] | None, options: RelevanceOptions, batch_size: int
) -> MapBatch:
    """Return the maps of images; results do not depend on the batch size beyond rounding."""
    parts = []
    for rows in torch.arange(len(images)).split(batch_size):
        explained = explain_batch(model, images[rows], None if labels is None else labels[rows], options)
        parts.append((explained.maps, explained.raw, explained.flat, explained.targets))
    return MapBatch(*(torch.cat([part.cpu() for part in column]) for column in zip(*parts, strict=True)))
