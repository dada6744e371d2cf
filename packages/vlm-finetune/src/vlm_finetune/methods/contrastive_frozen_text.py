"""Standard fine-tuning of the RaVL paper: the contrastive loss, with a text tower that stays as it is."""

import dataclasses

from vlm_finetune.frozen_text_method import FrozenTextMethod
from vlm_finetune.settings import within
from vlm_models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `contrastive-frozen-text`, also called `standard`.

    Attributes:
        temperature: divides all cosines in training; a constant (Varma et al. 2024).
    """

    temperature: float = within(0.07, 0, closed="(]")


def build(model: Classifier, config: Config, total_steps: int) -> FrozenTextMethod:
    """Return the method on a model."""
    return FrozenTextMethod(model, config.temperature)
