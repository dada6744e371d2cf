"""FLYP: fine-tune like you pre-train, with the contrastive loss on images and class captions (Goyal et al. 2023)."""

import dataclasses

from jaxtyping import Int64
from torch import Tensor

from vlm_finetune.losses import TARGETS, PairLogits, contrastive_towards
from vlm_finetune.losses.targets import check_smoothing
from vlm_finetune.pair_method import PairMethod
from vlm_finetune.settings import one_of, within
from vlm_models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `flyp`.

    Attributes:
        label_smoothing: share of the target spread evenly over all columns, in [0, 1].
        targets: what an image is pulled towards: `identity` (its own caption), `soft` (evenly towards all captions of
            its class), `without-collisions` (its own; others of its class are no negatives) or `supervised` (each of
            its class against everything else); all but the first need labels.
    """

    label_smoothing: float = within(0.0, 0, 1)
    targets: str = one_of("identity", TARGETS)

    def __post_init__(self) -> None:
        check_smoothing(self.targets, self.label_smoothing)


class Flyp(PairMethod):
    """The symmetric contrastive loss over the global batch; both towers and the logit scale move."""

    def __init__(self, model: Classifier, config: Config) -> None:
        super().__init__(model)
        self.config = config
        self.needs_labels = config.targets != "identity"

    def objective(
        self, student: PairLogits, teacher: PairLogits | None, labels: Int64[Tensor, " b"]
    ) -> dict[str, Tensor]:
        """Return the contrastive loss."""
        config = self.config
        return {"loss": contrastive_towards(student, config.targets, labels, label_smoothing=config.label_smoothing)}


def build(model: Classifier, config: Config, total_steps: int) -> Flyp:
    """Return the method on a model."""
    return Flyp(model, config)
