"""Cross-attention Grad-CAM (Li et al. 2021): where the words of the prompt look, weighted by what makes them match."""

from typing import cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vlm_data.errors import CallError
from vlm_data.text import PLACEHOLDER, prompts
from vlm_explain.relevance.options import CONTRAST, MethodInfo, RelevanceOptions
from vlm_explain.relevance.score import Score
from vlm_models.attention import record_attention
from vlm_models.classifier import Classifier
from vlm_models.interface import MatchingModel, VisionOutput

INFO = MethodInfo(
    "attention of the words of the class prompt to the patches, weighted by its gradient, for models that match images "
    "with texts (Grad-CAM of ALBEF, Li et al. 2021); explains the matching logit, not the head",
    capabilities=("matching", "cross attention", "tokens"),
    layered=False,
)


def token_maps(
    probabilities: Float[Tensor, "n heads length tokens"],
    gradients: Float[Tensor, "n heads length tokens"],
    words: Bool[Tensor, "n length"],
    prefix_tokens: int = 1,
) -> Float[Tensor, "n length patches"]:
    """Return for every token of a text how relevant each patch is: `mean_h A * max(G, 0)`, zero for padding.

    Args:
        probabilities: A, of a cross-attention layer.
        gradients: G, derivatives of the sum of the scores by it.
        words: which tokens are no padding.
        prefix_tokens: of the image; they stand before the patches and are left out.

    Example:
        >>> A = torch.tensor([[[[0.5, 0.2, 0.3], [0.5, 0.2, 0.3]]]])
        >>> token_maps(A, torch.tensor([[[[1.0, 2.0, -2.0], [1.0, 1.0, 1.0]]]]), torch.tensor([[True, False]]))
        tensor([[[0.4000, 0.0000], [0.0000, 0.0000]]])
    """
    weighted = (probabilities.float() * gradients.float().clamp_min(0)).mean(dim=1)[:, :, prefix_tokens:]
    return weighted * words.unsqueeze(-1)


def phrase_map(
    maps: Float[Tensor, "n length patches"], words: Bool[Tensor, "n length"], *, count_padding: bool = True
) -> Float[Tensor, "n patches"]:
    """Return the mean of the maps of all tokens of a text.

    Args:
        maps: from `token_maps`.
        words: which tokens are no padding.
        count_padding: whether the mean is over all places, as the authors take it, or over the tokens of the text.
            The two differ by one factor per image, which cancels once a map is stretched to [0, 1].
    """
    total = maps.sum(dim=1)
    return total / (maps.shape[1] if count_padding else words.sum(dim=1, keepdim=True).clamp_min(1))


def matching_relevance(
    model: MatchingModel,
    vision: VisionOutput,
    tokens: Int64[Tensor, "n length"],
    *,
    layer: int | None = None,
    scalar: str = "logit",
) -> tuple[Float[Tensor, "n length rows columns"], Float[Tensor, "n 2"]]:
    """Return a map for every token of every text, and the matching logits; image i goes with text i.

    Args:
        model: in evaluation mode, its parameters frozen (`vlm_explain.relevance.state.undisturbed`).
        vision: of the images, from `vision_tokens`.
        tokens: from `tokenize`.
        layer: cross-attention layer, counted from 0, negative from the end; None = `MatchingModel.grounding_layer`.
        scalar: `logit` of the match, or its `probability`.

    Raises:
        CallError: for another scalar, or a layer that does not exist.
    """
    if scalar not in ("logit", "probability"):
        raise CallError(f"a match has no scalar {scalar!r}; expected logit or probability for cross-attention.")
    with record_attention(model, "cross", [model.grounding_layer if layer is None else layer]) as attention:
        logits, _ = model.match(vision, tokens)
    scores = logits.float() if scalar == "logit" else logits.float().softmax(dim=1)
    (gradients,) = attention.gradients(scores[:, 1].sum())
    words = ~model.is_padding(tokens)
    maps = token_maps(attention.probabilities[0].detach(), gradients, words, vision.prefix_tokens)
    return maps.unflatten(2, vision.grid), logits.detach()


def relevance(
    model: Classifier, images: Tensor, score_of: Score, options: RelevanceOptions
) -> tuple[Float[Tensor, "n rows columns"], Float[Tensor, "n c"]]:
    """Return the relevance of patches for the match of each image with the prompt of its target, and the logits.

    The prompts are those of the zero-shot head, their maps averaged. The layer is the one the authors take, whatever
    `layers` says.

    Raises:
        CallError: for the target `contrast` or the scalar `cosine`: a match is about one text.
    """
    if options.target == CONTRAST:
        raise CallError(
            "cross-attention explains how one text matches the image, so there is no contrast of two. "
            "Choose target=label, target=prediction or class:NAME."
        )
    encoder = cast(MatchingModel, model.encoder)
    with torch.no_grad():
        vision = encoder.vision_tokens(images)
        logits = model.head(vision.features)
    names = [model.class_names[index] for index in score_of.targets(logits).tolist()]
    texts = prompts(names, model.templates or [PLACEHOLDER])
    found = []
    for of_template in zip(*texts, strict=True):
        tokens = encoder.tokenize(of_template).to(images.device)
        maps, _ = matching_relevance(encoder, vision, tokens, scalar=options.scalar)
        found.append(phrase_map(maps.flatten(2), ~encoder.is_padding(tokens)))
    return torch.stack(found).mean(dim=0).unflatten(1, vision.grid), logits
