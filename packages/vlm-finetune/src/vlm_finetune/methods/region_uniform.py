"""Our variant of region-aware fine-tuning: a spurious region shall carry no evidence for any class (not RaVL)."""

import dataclasses
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from vlm_data.region_batches import BatchRegions
from vlm_finetune.frozen_text_method import FrozenTextMethod
from vlm_finetune.losses.region_uniform import distance_from_uniform, label_cross_entropy
from vlm_finetune.settings import one_of, within
from vlm_models.classifier import Classifier
from vlm_models.region_pooling import POOLINGS

NEEDS_REGIONS = True


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `region-uniform`.

    Attributes:
        temperature: divides all cosines in training; a constant.
        relevant: a, coefficient of the term of regions that are not spurious.
        spurious: b, coefficient of the term of spurious regions.
        pooling: how regions become features, see `vlm_models.region_pooling`.
    """

    temperature: float = within(0.07, 0, closed="(]")
    relevant: float = within(1.0, 0)
    spurious: float = within(1.0, 0)
    pooling: str = one_of("masked", POOLINGS)


class RegionUniform(FrozenTextMethod):
    """`contrastive + a CE(best regions) + b KL(uniform || spurious regions)`, see `losses.region_uniform`."""

    def __init__(self, model: Classifier, config: Config) -> None:
        adds = config.relevant > 0 or config.spurious > 0
        super().__init__(model, config.temperature, adds=adds, pooling=config.pooling if adds else "")
        self.config = config

    def further(
        self, features: Mapping[str, Tensor], regions: BatchRegions
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return both terms with their coefficients; for the log without them, and the share of images with terms."""
        scored = self.scored(features, regions)
        relevant, anchors = label_cross_entropy(scored)
        spurious = distance_from_uniform(scored)
        terms = {"relevant": relevant, "spurious": spurious, "anchors": anchors.float().mean()}
        return self.config.relevant * relevant + self.config.spurious * spurious, terms


def build(model: Classifier, config: Config, total_steps: int) -> RegionUniform:
    """Return the method on a model."""
    return RegionUniform(model, config)
