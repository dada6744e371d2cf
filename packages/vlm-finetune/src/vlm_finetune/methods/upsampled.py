"""The contrastive loss on batches in which every group of class and spurious feature is seen equally often."""

import dataclasses

from vlm_finetune.frozen_text_method import FrozenTextMethod
from vlm_finetune.settings import within
from vlm_models.classifier import Classifier

NEEDS_REGIONS = True


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `upsampled`.

    Attributes:
        temperature: divides all cosines in training; a constant.
    """

    temperature: float = within(0.07, 0, closed="(]")


class Upsampled(FrozenTextMethod):
    """`contrastive-frozen-text` with images drawn by group, see `vlm_finetune.training_regions.group_weights`."""

    balances_groups = True


def build(model: Classifier, config: Config, total_steps: int) -> Upsampled:
    """Return the method on a model."""
    return Upsampled(model, config.temperature)
