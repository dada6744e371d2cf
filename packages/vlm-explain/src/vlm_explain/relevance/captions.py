"""Captions: from each word piece to the patches that the text decoder looks at."""

import torch
from jaxtyping import Float
from torch import Tensor

from vlm_data.errors import CallError, unknown_name
from vlm_explain.relevance.generative import SCALARS, AnswerRelevance, token_gradients
from vlm_explain.relevance.methods.cross_attention import token_maps
from vlm_explain.relevance.state import undisturbed
from vlm_models.attention import record_modules
from vlm_models.fusion.captioner import BlipCaptioner
from vlm_models.fusion.tokens import SEPARATOR


def caption_relevance(
    model: BlipCaptioner, images: Tensor, captions: list[str], *, layer: int = -1, scalar: str = "logit"
) -> AnswerRelevance:
    """Explain given captions of BLIP: for every word piece, Grad-CAM of the cross-attention that predicts it.

    `mean_h A * max(G, 0)` at the place before the word piece, the class token of the image left out, as the authors of
    ALBEF and BLIP take it for matching. The caption is forced, whether or not the model would write it. The model is
    left as it was found.

    Args:
        model: from `load_captioner`.
        images: (n, 3, h, w), uint8 or normalised already; on the device of the model.
        captions: one for every image.
        layer: of the decoder, counted from 0, negative from the end; of any but the last, every word piece costs a
            backward pass.
        scalar: `logit` of each word piece, or its `log-probability`.

    Returns:
        One view; without the start and the end of the caption.

    Raises:
        CallError: if there is not one caption that is not empty for every image, or no such layer.
    """
    if scalar not in SCALARS:
        raise unknown_name("scalar", scalar, SCALARS)
    tokens = model.tokenize(captions).to(images.device)
    after = tokens[:, 1:]
    known = after.ne(model.tokenizer.padding_id) & after.ne(model.tokenizer.id_of(SEPARATOR))
    if len(captions) != len(images) or not bool(known.any(dim=1).all()):
        raise CallError(
            f"there are the captions {captions} for {len(images)} images; expected one for each, not empty."
        )
    modules = model.attention_modules()
    with undisturbed(model):
        tokens, after, known = (part.clone() for part in (tokens, after, known))
        with record_modules(modules, [layer]) as attention:
            logits = model.caption_logits(images.clone(), tokens)[:, :-1].float()
        odds = logits.log_softmax(dim=-1)
        chosen = (logits if scalar == "logit" else odds).gather(2, after[:, :, None])[:, :, 0] * known
        is_last = layer % len(modules) == len(modules) - 1
        maps = _maps(chosen, attention.probabilities[0], known, alone=is_last).unflatten(2, model.grid)
        given = odds.detach().gather(2, after[:, :, None])[:, :, 0] * known
    return AnswerRelevance(maps[:, :, None], given, after, known)


def _maps(scores: Tensor, attention: Tensor, known: Tensor, *, alone: bool) -> Float[Tensor, "n length patches"]:
    """Return the map of every word piece; padding, and places that no caption reaches, cost no backward pass."""
    found = torch.zeros(*scores.shape, attention.shape[-1] - 1, device=scores.device)
    used = int(known.any(dim=0).sum())
    for place, gradients in enumerate(token_gradients(scores[:, :used], [attention], alone=alone)):
        here = slice(place, place + 1)
        found[:, here] = token_maps(attention[:, :, here].detach(), gradients[0][:, :, here], known[:, here])
    return found
