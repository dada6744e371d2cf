"""Full fine-tuning held back by what the zero-shot model says (a baseline of Wortsman et al. 2022)."""

import copy
import dataclasses

import torch
from torch import Tensor

from vlm_data.loading import Batch
from vlm_finetune.losses import classification, output_distillation
from vlm_finetune.methods import full
from vlm_finetune.settings import within
from vlm_models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `output-distillation`.

    Attributes:
        label_smoothing: of the cross-entropy with the labels, in [0, 1].
        coefficient: of the divergence from the zero-shot model.
        temperature: of both models within the divergence.
    """

    label_smoothing: float = within(0.0, 0, 1)
    coefficient: float = within(1.0, 0)
    temperature: float = within(1.0, 0, closed="(]")


class OutputDistillation(full.FullFineTuning):
    """`CE(labels) + c T^2 KL(zero-shot || fine-tuned)` over class probabilities; image tower and head move.

    The zero-shot model sees the same images, augmented alike, and never changes.
    """

    def __init__(self, model: Classifier, config: Config) -> None:
        start = copy.deepcopy(model).eval().requires_grad_(False)
        super().__init__(model, full.Config(config.label_smoothing))
        self.distillation = config
        self._start = (
            start,
        )  # in a tuple, so that it is no sub-module: a wrapper must neither synchronise nor train it

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the objective and its terms, before their coefficients."""
        logits = self.model(batch.images)
        with torch.no_grad():
            before = self._start[0](batch.images)
        terms = {
            "cross_entropy": classification(logits, batch.labels, label_smoothing=self.config.label_smoothing),
            "divergence": output_distillation(logits, before, temperature=self.distillation.temperature),
        }
        return {"loss": terms["cross_entropy"] + self.distillation.coefficient * terms["divergence"], **terms}


def build(model: Classifier, config: Config, total_steps: int) -> OutputDistillation:
    """Return the method on a model."""
    return OutputDistillation(model, config)
