"""VL-ERM, a baseline of the RaVL paper: contrastive loss and cross-entropy over the classes, groups drawn equally."""

import dataclasses
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlm_data.region_batches import BatchRegions
from vlm_finetune.frozen_text_method import FrozenTextMethod
from vlm_finetune.settings import within
from vlm_models.classifier import Classifier

NEEDS_REGIONS = True


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `vl-erm`; the defaults are those of the paper (Varma et al. 2024).

    Attributes:
        temperature: divides all cosines in training; a constant.
        contrastive_weight: of the contrastive loss; the cross-entropy has the rest.
        balance_groups: draw images so that all groups of class and spurious feature are seen equally often.
    """

    temperature: float = within(0.07, 0, closed="(]")
    contrastive_weight: float = within(0.8, 0, 1)
    balance_groups: bool = True


class VlErm(FrozenTextMethod):
    """`w contrastive + (1 - w) CE(zero-shot logits)`; images without a class have no cross-entropy."""

    def __init__(self, model: Classifier, config: Config) -> None:
        weight = config.contrastive_weight
        super().__init__(model, config.temperature, weight, adds=weight < 1)
        self.balances_groups = config.balance_groups

    def further(
        self, features: Mapping[str, Tensor], regions: BatchRegions
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the weighted cross-entropy, averaged over the images of the whole batch that have a class."""
        logits, labels, _ = self.class_logits(features, regions)
        known = labels >= 0
        losses = functional.cross_entropy(logits[known], labels[known], reduction="sum")
        cross_entropy = losses / known.sum().clamp(min=1)
        return (1 - self.contrastive_weight) * cross_entropy, {"cross_entropy": cross_entropy}


def build(model: Classifier, config: Config, total_steps: int) -> VlErm:
    """Return the method on a model."""
    return VlErm(model, config)
