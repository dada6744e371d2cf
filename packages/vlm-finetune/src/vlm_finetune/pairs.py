"""From images and captions to the features a contrastive loss compares."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from vlm_finetune.losses.precision import widen
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder
from vlm_models.zero_shot import zero_shot_classifier

_CACHED_CAPTIONS = 100_000


class PairEncoder:
    """Encodes images and captions; remembers the token ids of captions it has seen.

    Equal captions go through the text tower once and their rows are repeated, which gives the same gradients.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, Tensor] = {}

    def images(self, encoder: DualEncoder, images: Tensor) -> Float[Tensor, "b d"]:
        """Return the unit-norm features of images in float32 at least."""
        return unit(encoder.encode_image(images))

    def texts(self, encoder: DualEncoder, captions: Sequence[str], device: torch.device | str) -> Float[Tensor, "n d"]:
        """Return the unit-norm features of captions in float32 at least, one row per caption."""
        texts, rows = distinct(captions)
        tokens = encoder.needed_tokens(self.tokens(encoder, texts))
        features = unit(encoder.encode_text(tokens.to(device)))
        return features if len(texts) == len(captions) else features[rows.to(device)]

    def tokens(self, encoder: DualEncoder, texts: Sequence[str]) -> Int64[Tensor, "n length"]:
        """Return the token ids of some texts."""
        new = [text for text in texts if text not in self._tokens]
        if new:
            if len(self._tokens) > _CACHED_CAPTIONS:
                self._tokens.clear()
                new = list(texts)
            self._tokens.update(zip(new, encoder.tokenize(new), strict=True))
        return torch.stack([self._tokens[text] for text in texts])


class RememberedTexts:
    """The text features of a model that stands still: each caption is encoded once, until `forget`.

    A caption keeps the row it got in the company of the captions it was first seen with. Encoded again in other
    company its last bits may differ, so a training that has to be repeated exactly forgets at the same steps.
    """

    def __init__(self, encode: PairEncoder) -> None:
        self._encode = encode
        self._row: dict[str, int] = {}
        self._features: Float[Tensor, "n d"] | None = None

    def __call__(self, encoder: DualEncoder, texts: Sequence[str], device: torch.device | str) -> Float[Tensor, "t d"]:
        """Return the unit-norm features of distinct texts, as `PairEncoder.texts` does."""
        new = [text for text in texts if text not in self._row]
        if new and len(self._row) + len(new) > _CACHED_CAPTIONS:
            self.forget()
            new = list(texts)
        if new:
            found = self._encode.texts(encoder, new, device)
            self._row.update(zip(new, range(len(self._row), len(self._row) + len(new)), strict=True))
            self._features = found if self._features is None else torch.cat((self._features, found))
        assert self._features is not None  # for the type checker: there is at least one text
        return self._features[torch.tensor([self._row[text] for text in texts]).to(device)]

    def forget(self) -> None:
        """Start anew, because the model has changed."""
        self._row.clear()
        self._features = None


def unit(features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return the rows at length one, in float32 at least.

    Example:
        >>> unit(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """
    (wide,) = widen(features)
    return functional.normalize(wide, dim=-1)


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
