"""Full fine-tuning (FT): image tower and head, cross-entropy, starting from the zero-shot head."""

import dataclasses

from torch import Tensor

from vlm_data.loading import Batch
from vlm_finetune.losses import classification
from vlm_finetune.method import Method
from vlm_finetune.settings import within
from vlm_models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `full`.

    Attributes:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1].
    """

    label_smoothing: float = within(0.0, 0, 1)


class FullFineTuning(Method):
    """Cross-entropy on `head(normalise(f(x)))`; image tower and head move (Wortsman et al. 2022, section 2)."""

    def __init__(self, model: Classifier, config: Config) -> None:
        super().__init__(model)
        self.config = config
        self.release(model.encoder.image_tower())
        self.train_head()

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the (smoothed) cross-entropy of the batch."""
        logits = self.model(batch.images)
        return {"loss": classification(logits, batch.labels, label_smoothing=self.config.label_smoothing)}


def build(model: Classifier, config: Config, total_steps: int) -> FullFineTuning:
    """Return the method on a model."""
    return FullFineTuning(model, config)
