"""Spurious-aware mitigation (Yang et al. 2023) as the RaVL paper compares with it: the terms on the image side."""

import dataclasses
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from vlm_data.region_batches import BatchRegions
from vlm_finetune.frozen_text_method import FrozenTextMethod
from vlm_finetune.losses.image_similarity import similarity_gap
from vlm_finetune.settings import within
from vlm_models.classifier import Classifier

NEEDS_REGIONS = True


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `spurious-aware`.

    Attributes:
        temperature: divides all cosines of the contrastive loss in training; a constant.
        by_class: coefficient of the term that parts images of different classes.
        by_feature: coefficient of the term that parts images with the spurious feature from those without.
    """

    temperature: float = within(0.07, 0, closed="(]")
    by_class: float = within(1.0, 0)
    by_feature: float = within(1.0, 0)


class SpuriousAware(FrozenTextMethod):
    """`contrastive + c_1 gap(classes) + c_2 gap(feature)`, see `vlm_finetune.losses.image_similarity`.

    Its two terms on the text side have no gradient here, because the text tower is frozen (Varma et al. 2024).
    """

    def __init__(self, model: Classifier, config: Config) -> None:
        super().__init__(model, config.temperature, adds=config.by_class > 0 or config.by_feature > 0)
        self.config = config

    def further(
        self, features: Mapping[str, Tensor], regions: BatchRegions
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return both terms with their coefficients; for the log without them."""
        terms = {
            "by_class": similarity_gap(features["images"], regions.labels),
            "by_feature": similarity_gap(features["images"], regions.holds.to(regions.labels.dtype)),
        }
        return self.config.by_class * terms["by_class"] + self.config.by_feature * terms["by_feature"], terms


def build(model: Classifier, config: Config, total_steps: int) -> SpuriousAware:
    """Return the method on a model."""
    return SpuriousAware(model, config)
