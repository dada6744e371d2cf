"""VL-GDRO, a baseline of the RaVL paper: contrastive loss and group DRO over class and spurious feature."""

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlm_data.region_batches import BatchRegions, RegionSource
from vlm_finetune.frozen_text_method import FrozenTextMethod
from vlm_finetune.losses.groups import group_losses, moved_group_weights
from vlm_finetune.settings import within
from vlm_models.classifier import Classifier

NEEDS_REGIONS = True
NEEDS_WHOLE_BATCH = True


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `vl-gdro`; the weight is that of the RaVL paper, the step size that of group DRO.

    Attributes:
        temperature: divides all cosines in training; a constant.
        contrastive_weight: of the contrastive loss; the group term has the rest.
        step_size: eta, how fast the weights of groups follow their losses (Sagawa et al. 2020).
        balance_groups: draw images so that all groups of class and spurious feature are seen equally often.
    """

    temperature: float = within(0.07, 0, closed="(]")
    contrastive_weight: float = within(0.8, 0, 1)
    step_size: float = within(0.01, 0)
    balance_groups: bool = True


class VlGdro(FrozenTextMethod):
    """`w contrastive + (1 - w) sum_g q_g CE_g`, the cross-entropy of each group weighted by how badly it did so far.

    A group is a class with or without a spurious region. q moves once per optimiser step with the losses of the whole
    batch, and the step uses it after it has moved.
    """

    def __init__(self, model: Classifier, config: Config) -> None:
        weight = config.contrastive_weight
        super().__init__(model, config.temperature, weight, adds=weight < 1)
        self.config = config
        self.balances_groups = config.balance_groups
        groups = 2 * len(model.class_names)
        self.register_buffer("group_weights", self.class_features.new_full((groups,), 1 / groups))
        self.group_weights: Float[Tensor, " groups"]
        self._moved = self.group_weights

    def meet(self, regions: RegionSource) -> None:
        """Give every group that has a training image the same weight, and no other any."""
        there = torch.from_numpy(regions.groups[regions.groups >= 0]).unique()
        weights = torch.zeros_like(self.group_weights)
        weights[there.to(weights.device)] = 1 / len(there)
        self.group_weights.copy_(weights)

    def further(
        self, features: Mapping[str, Tensor], regions: BatchRegions
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the weighted group term; for the log also the loss of the worst group of the batch."""
        logits, labels, groups = self.class_logits(features, regions)
        losses = functional.cross_entropy(logits, labels.clamp(min=0), reduction="none")
        of_groups = group_losses(losses, groups, len(self.group_weights))
        self._moved = moved_group_weights(self.group_weights, of_groups, self.config.step_size)
        term = (self._moved * of_groups).sum()
        return (1 - self.contrastive_weight) * term, {
            "group_dro": term,
            "worst_group_loss": of_groups.max(),
            "largest_group_weight": self._moved.max(),
        }

    def after_step(self, step: int) -> None:
        """Keep the group weights that the step has used."""
        self.group_weights.copy_(self._moved)


def build(model: Classifier, config: Config, total_steps: int) -> VlGdro:
    """Return the method on a model."""
    return VlGdro(model, config)
