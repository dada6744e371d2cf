"""FLYP: fine-tune like you pre-train, with the contrastive loss on images and class captions (Goyal et al. 2023)."""

import dataclasses

from torch import Tensor

from vlm_data.loading import Batch
from vlm_finetune.losses import contrastive
from vlm_finetune.method import Method
from vlm_finetune.pairs import PairEncoder, with_rebuilt_head
from vlm_finetune.settings import within
from vlm_models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `flyp`.

    Attributes:
        label_smoothing: share of the target spread evenly over all columns, in [0, 1].
    """

    label_smoothing: float = within(0.0, 0, 1)


class Flyp(Method):
    """The symmetric contrastive loss over the global batch; both towers and the logit scale move."""

    needs_captions = True
    needs_labels = False

    def __init__(self, model: Classifier, config: Config) -> None:
        super().__init__(model)
        self.config = config
        self.encode = PairEncoder()
        self.release_towers()

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the contrastive loss of the batch."""
        images, texts, scale = self.encode(self.model.encoder, batch)
        return {"loss": contrastive(images, texts, scale, label_smoothing=self.config.label_smoothing)}

    def classifier(self) -> Classifier:
        """Return the model with the zero-shot head of its text tower now."""
        return with_rebuilt_head(self.plain_model())


def build(model: Classifier, config: Config, total_steps: int) -> Flyp:
    """Return the method on a model."""
    return Flyp(model, config)
