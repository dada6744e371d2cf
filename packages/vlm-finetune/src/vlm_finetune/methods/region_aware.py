"""RaVL, stage 2: fine-tune so that regions that show a class agree with it, and spurious regions with none."""

import dataclasses
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from vlm_data.region_batches import BatchRegions
from vlm_finetune.frozen_text_method import FrozenTextMethod
from vlm_finetune.losses.region_aware import LABEL_TERMS, REDUCTIONS, region_terms
from vlm_finetune.settings import one_of, within
from vlm_models.classifier import Classifier
from vlm_models.region_pooling import POOLINGS

NEEDS_REGIONS = True


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `region-aware`; the defaults are those of the paper (Varma et al. 2024).

    Attributes:
        temperature: tau, divides all cosines in training; a constant.
        contrastive_weight: lambda, weight of the contrastive loss; the region part has 1 - lambda.
        reduction: of the region part: `sum` over the images of the batch, as printed, or their `mean`. The sum weighs
            it by the batch size, so that it can drown the contrastive loss.
        label_terms: whether a label of the batch counts once in the denominator (`distinct`), or once for every image
            that has it (`per-sample`).
        pooling: how regions become features, see `vlm_models.region_pooling`.
    """

    temperature: float = within(0.07, 0, closed="(]")
    contrastive_weight: float = within(0.8, 0, 1)
    reduction: str = one_of("sum", REDUCTIONS)
    label_terms: str = one_of("distinct", LABEL_TERMS)
    pooling: str = one_of("masked", POOLINGS)


class RegionAware(FrozenTextMethod):
    """`lambda contrastive + (1 - lambda) (L_R + L_A)`, see `vlm_finetune.losses.region_aware`."""

    def __init__(self, model: Classifier, config: Config) -> None:
        weight = config.contrastive_weight
        adds = weight < 1  # else regions are not even encoded
        super().__init__(model, config.temperature, weight, adds=adds, pooling=config.pooling if adds else "")
        self.config = config

    def further(
        self, features: Mapping[str, Tensor], regions: BatchRegions
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the weighted region part; for the log the means of its terms, and the share of images with terms."""
        terms = region_terms(self.scored(features, regions), self.config.label_terms)
        count = terms.anchors.sum().clamp(min=1)
        part = (1 - self.contrastive_weight) * terms.total(self.config.reduction)
        return part, {
            "region_to_label": terms.to_label.sum() / count,
            "label_to_region": terms.to_region.sum() / count,
            "anchors": terms.anchors.float().mean(),
        }


def build(model: Classifier, config: Config, total_steps: int) -> RegionAware:
    """Return the method on a model."""
    return RegionAware(model, config)
