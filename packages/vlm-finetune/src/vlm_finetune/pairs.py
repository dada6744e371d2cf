"""From a batch with captions to the features a contrastive loss compares."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from vlm_data.loading import Batch
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder
from vlm_models.zero_shot import zero_shot_classifier

_CACHED_CAPTIONS = 100_000


class PairEncoder:
    """Encodes the images and captions of a batch; remembers the token ids of captions it has seen.

    Equal captions go through the text tower once and their rows are repeated, which gives the same gradients.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, Tensor] = {}

    def __call__(
        self, encoder: DualEncoder, batch: Batch
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"], Float[Tensor, ""]]:
        """Return unit-norm image and text features in float32, and the logit scale."""
        images = functional.normalize(encoder.encode_image(batch.images).float(), dim=-1)
        return images, self.texts(encoder, batch.captions, batch.images.device), encoder.logit_scale

    def texts(self, encoder: DualEncoder, captions: Sequence[str], device: torch.device | str) -> Float[Tensor, "n d"]:
        """Return the unit-norm features of captions in float32, one row per caption."""
        texts, rows = distinct(captions)
        features = encoder.encode_text(self.tokens(encoder, texts).to(device)).float()
        return functional.normalize(features, dim=-1)[rows.to(device)]

    def tokens(self, encoder: DualEncoder, texts: Sequence[str]) -> Int64[Tensor, "n length"]:
        """Return the token ids of some texts."""
        new = [text for text in texts if text not in self._tokens]
        if new:
            if len(self._tokens) > _CACHED_CAPTIONS:
                self._tokens.clear()
                new = list(texts)
            self._tokens.update(zip(new, encoder.tokenize(new), strict=True))
        return torch.stack([self._tokens[text] for text in texts])


def distinct(captions: Sequence[str]) -> tuple[list[str], Int64[Tensor, " b"]]:
    """Return the distinct captions in order of appearance, and for each caption its position among them.

    Example:
        >>> distinct(["a", "b", "a"])
        (['a', 'b'], tensor([0, 1, 0]))
    """
    position = {text: index for index, text in enumerate(dict.fromkeys(captions))}
    return list(position), torch.tensor([position[text] for text in captions])


def with_rebuilt_head(model: Classifier) -> Classifier:
    """Return a classifier on the same towers whose head is built from the text tower as it is now."""
    return zero_shot_classifier(model.encoder, model.class_names, model.templates)
