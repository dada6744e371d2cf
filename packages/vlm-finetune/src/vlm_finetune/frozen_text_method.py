"""What methods share that fine-tune the image tower towards the texts of a text tower that stays as it is."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from vlm_data.region_batches import BatchRegions
from vlm_finetune.gather import gather_rows
from vlm_finetune.losses import PairLogits, contrastive_from_logits, scaled_cosines
from vlm_finetune.losses.region_aware import ScoredRegions, score_regions
from vlm_finetune.pair_method import PairMethod
from vlm_finetune.pairs import RememberedTexts, unit
from vlm_models.classifier import Classifier
from vlm_models.interface import evaluating
from vlm_models.region_pooling import features_with_regions


class FrozenTextMethod(PairMethod):
    """A contrastive loss at a constant temperature, and further terms; only the image tower moves.

    Captions and classes keep their features, so each caption is encoded once, and the zero-shot head stays what it is.

    Attributes:
        temperature: divides all cosines in training.
        contrastive_weight: of the contrastive loss.
        adds: whether `further` has anything to add to it.
        pooling: how regions are pooled; empty if the loss looks at whole images only.
        class_features: (c, d) unit-norm text features of the classes: the prompt averages of the zero-shot head.
    """

    needs_labels = False

    def __init__(
        self,
        model: Classifier,
        temperature: float,
        contrastive_weight: float = 1.0,
        *,
        adds: bool = False,
        pooling: str = "",
    ) -> None:
        super().__init__(model)
        self.temperature = temperature
        self.contrastive_weight = contrastive_weight
        self.adds = adds
        self.pooling = pooling
        self._texts = RememberedTexts(self.encode)
        directions = functional.normalize(model.head.weight.detach(), dim=1)
        self.register_buffer("class_features", directions, persistent=False)
        self.class_features: Float[Tensor, "c d"]

    def forget(self) -> None:
        """Forget the text features of captions, see `Method.forget`."""
        super().forget()
        self._texts.forget()

    def release_towers(self) -> None:
        """Let the image tower be trained."""
        self.release(self.model.encoder.image_tower())

    def features(self, images: Tensor, texts: Sequence[str], regions: BatchRegions | None = None) -> dict[str, Tensor]:
        """Return unit-norm `images` (b, d); where the loss looks at them, also `regions` (k, d)."""
        encoder = self.model.encoder
        if not (self.pooling and regions):
            return {"images": self.encode.images(encoder, images)}
        found = features_with_regions(encoder, images, regions.boxes, regions.image_of, self.pooling)
        return dict(zip(("images", "regions"), map(unit, found), strict=True))

    def constants(self, images: Tensor, texts: Sequence[str], step: int) -> dict[str, Tensor]:
        """Return the unit-norm features of `texts`."""
        if not texts:
            return {"texts": self.class_features[:0]}
        with torch.no_grad(), evaluating(self.model.encoder):
            return {"texts": self._texts(self.model.encoder, texts, images.device)}

    @property
    def scale(self) -> float:
        """What multiplies the cosines."""
        return 1 / self.temperature

    def objective(
        self, student: PairLogits, teacher: PairLogits | None, labels: Int64[Tensor, " b"]
    ) -> dict[str, Tensor]:
        """Return the contrastive loss, weighted as `loss`, and as it is."""
        of_pairs = contrastive_from_logits(student)
        return {"loss": self.contrastive_weight * of_pairs, "contrastive": of_pairs}

    def compare(
        self,
        features: Mapping[str, Tensor],
        rows: Int64[Tensor, " b"],
        labels: Int64[Tensor, " b"],
        regions: BatchRegions | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted contrastive loss with what `further` adds to it."""
        found = super().compare(features, rows, labels, regions)
        if not self.adds or regions is None:
            return found
        further, terms = self.further(features, regions)
        return {**found, "loss": found["loss"] + further, **terms}

    def further(
        self, features: Mapping[str, Tensor], regions: BatchRegions
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return what is added to the weighted contrastive loss, and its terms for the log; here nothing."""
        return features["images"].new_zeros(()), {}

    def scored(self, features: Mapping[str, Tensor], regions: BatchRegions) -> ScoredRegions:
        """Return the regions of the batch of all processes with their scores; a collective call."""
        return score_regions(
            features["regions"],
            self.class_features,
            regions.labels,
            regions.image_of,
            regions.spurious,
            self.temperature,
        )

    def class_logits(
        self, features: Mapping[str, Tensor], regions: BatchRegions
    ) -> tuple[Float[Tensor, "n c"], Int64[Tensor, " n"], Int64[Tensor, " n"]]:
        """Return the logits of all images of the batch over the classes, their labels and groups; a collective call.

        The group of an image of class c is 2 c, or 2 c + 1 with a spurious region; -1 without a class.
        """
        logits = scaled_cosines(features["images"], self.class_features, self.scale)
        labels = gather_rows(regions.labels)
        holds = gather_rows(regions.holds.to(labels.dtype))
        return gather_rows(logits), labels, torch.where(labels >= 0, 2 * labels + holds, labels)

    def classifier(self) -> Classifier:
        """Return the model with the head it has: no text feature has changed."""
        return self.plain_model()
