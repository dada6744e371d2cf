"""The text side: which words of a text the similarity to an image rests on."""

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from vlm_data.errors import CallError, unknown_name
from vlm_explain.relevance.options import LAST, RelevanceOptions
from vlm_explain.relevance.recursion import relevance_row
from vlm_explain.relevance.state import undisturbed
from vlm_models.attention import record_attention
from vlm_models.capabilities import require
from vlm_models.interface import DualEncoder

SCALARS = ("logit", "cosine")


@dataclasses.dataclass(frozen=True)
class TextRelevance:
    """What the tokens of texts have to do with their images.

    Attributes:
        relevance: of every token; those of a text sum to 1. Zero for what is no word of it, and for all of a text that
            is `flat`.
        words: which tokens are words of the text, and no start, end or padding.
        pieces: what each token stands for.
        flat: texts whose relevance is undefined: no word spoke for the image.
    """

    relevance: Float[Tensor, "n length"]
    words: Bool[Tensor, "n length"]
    pieces: list[list[str]]
    flat: Bool[Tensor, " n"]

    def pairs(self, text: int) -> list[tuple[str, float]]:
        """Return the words of a text with their relevance, in reading order."""
        kept = self.words[text].tolist()
        together = zip(self.pieces[text], self.relevance[text].tolist(), kept, strict=True)
        return [(piece, value) for piece, value, is_word in together if is_word]


def text_relevance(
    model: DualEncoder, images: Tensor, texts: Sequence[str], *, layers: str = LAST, scalar: str = "logit"
) -> TextRelevance:
    """Return how relevant each token of text i is for its similarity to image i; the model is left as it was found.

    The rule of `relevance_row` over the layers of the text tower, read at the place the text feature is taken from (the
    end token of CLIP), divided by the sum over the words (Chefer et al. 2021).

    Args:
        model: in any mode.
        images: (n, 3, h, w), uint8 or normalised already; moved to the device of the model.
        texts: as many.
        layers: of the text tower, see `RelevanceOptions`.
        scalar: `logit`, the cosine times the logit scale, or `cosine`; they differ where there are several layers.

    Raises:
        CapabilityError: if attention of the text tower cannot be recorded.
        CallError: if texts and images are not as many.

    Example:
        >>> from vlm_models import load_encoder
        >>> image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
        >>> found = text_relevance(load_encoder("tiny"), image, ["the digit two"])
        >>> [word for word, _ in found.pairs(0)], found.relevance.sum().item()
        (['the', 'digit', 'two'], 1.0)
    """
    if "text attention" not in model.capabilities:
        raise require(model, "text attention")
    if isinstance(texts, str) or len(texts) != len(images) or not len(images):
        count = 1 if isinstance(texts, str) else len(texts)
        raise CallError(f"there are {count} texts for {len(images)} images; expected one for each, as a list.")
    if scalar not in SCALARS:
        raise unknown_name("scalar", scalar, SCALARS)
    count = len(model.attention_modules("text"))
    first = RelevanceOptions(layers=layers).first_layer(count)
    with undisturbed(model):
        device = model.logit_scale.device
        tokens = model.tokenize(texts).to(device)
        reading = model.read_text(tokens)
        with torch.no_grad():
            seen = functional.normalize(model.encode_image(images.to(device)).float(), dim=-1)
        with record_attention(model, "text", range(first, count)) as attention:
            read = functional.normalize(model.encode_text(tokens).float(), dim=-1)
        scores = (seen * read).sum(dim=-1) * (model.logit_scale.float() if scalar == "logit" else 1)
        gradients = attention.gradients(scores.sum())
        row = relevance_row(attention.probabilities, gradients, reading.read_at).detach()
        return _shares(row, reading.words, reading.pieces)


def _shares(row: Tensor, words: Tensor, pieces: list[list[str]]) -> TextRelevance:
    """Return the relevance of words as shares; towers are spared columns of padding, and may append a class token."""
    width = min(row.shape[1], words.shape[1])
    kept = functional.pad(row[:, :width], (0, words.shape[1] - width)) * words
    total = kept.sum(dim=1, keepdim=True)
    defined = (total > 0) & total.isfinite()
    return TextRelevance((kept / total).where(defined, 0.0), words, pieces, ~defined[:, 0])
