"""Linear probe (LP): only the head moves, on features that are extracted once."""

import dataclasses

from torch import Tensor

from vlm_data.loading import Batch
from vlm_finetune.losses import classification
from vlm_finetune.method import Method
from vlm_finetune.settings import within
from vlm_models.classifier import Classifier

MOVES_TOWERS = False
"""There is nothing in it that low-rank adapters could stand in for."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `linear-probe`.

    Attributes:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1].
    """

    label_smoothing: float = within(0.0, 0, 1)


class LinearProbe(Method):
    """Cross-entropy on the head, which starts from the zero-shot head; the encoder stays as it is."""

    frozen_encoder = True

    def __init__(self, model: Classifier, config: Config) -> None:
        super().__init__(model)
        self.config = config
        self.train_head()

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the (smoothed) cross-entropy of a batch whose `images` are raw features."""
        logits = self.model.head(batch.images)
        return {"loss": classification(logits, batch.labels, label_smoothing=self.config.label_smoothing)}


def build(model: Classifier, config: Config, total_steps: int) -> LinearProbe:
    """Return the method on a model."""
    return LinearProbe(model, config)
