"""Cross-entropy on text features: the head is the text tower itself (ablation of Oh et al. 2024, CaRot)."""

import dataclasses

from torch import Tensor

from vlm_data.captions import class_captions
from vlm_data.loading import Batch, step_rng
from vlm_finetune.losses import classification, scaled_cosines
from vlm_finetune.method import Method
from vlm_finetune.pairs import PairEncoder, with_rebuilt_head
from vlm_finetune.settings import within
from vlm_models.capabilities import require
from vlm_models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `text-cross-entropy`.

    Attributes:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1].
    """

    label_smoothing: float = within(0.0, 0, 1)


class TextCrossEntropy(Method):
    """`CE(s I T^T, labels)` with one caption per class in T; both towers and the logit scale move.

    At every optimiser step each class is put into a template of its own, drawn from (seed, step): all processes and
    all micro-batches of the step see the same captions. All of them go through the text tower with gradient, so a step
    costs as many text passes as there are classes.

    Raises:
        CapabilityError: if the model encodes no text.
    """

    def __init__(self, model: Classifier, config: Config) -> None:
        super().__init__(model)
        if "text" not in model.encoder.capabilities:
            raise require(model.encoder, "text")
        self.config = config
        self.encode = PairEncoder()
        self.release_towers()

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the (smoothed) cross-entropy of the batch over all classes."""
        model, encoder = self.model, self.model.encoder
        captions = class_captions(model.class_names, model.templates, step_rng(self.seed, step))
        images = self.encode.images(encoder, batch.images)
        texts = self.encode.texts(encoder, captions, batch.images.device)
        logits = scaled_cosines(images, texts, encoder.logit_scale)
        return {"loss": classification(logits, batch.labels, label_smoothing=self.config.label_smoothing)}

    def classifier(self) -> Classifier:
        """Return the model with the zero-shot head of its text tower now."""
        return with_rebuilt_head(self.plain_model())


def build(model: Classifier, config: Config, total_steps: int) -> TextCrossEntropy:
    """Return the method on a model."""
    return TextCrossEntropy(model, config)
