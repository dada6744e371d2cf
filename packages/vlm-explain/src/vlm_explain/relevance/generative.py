"""Generative models: from each token of an answer to the patches of the image."""

import contextlib
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vlm_data.errors import unknown_name
from vlm_explain.relevance.forced_answers import continued, padded_answers
from vlm_explain.relevance.image_places import ImagePlaces, image_places, merged_patches
from vlm_explain.relevance.options import LAST, RelevanceOptions
from vlm_explain.relevance.recursion import relevance_row
from vlm_explain.relevance.state import undisturbed
from vlm_models.attention import record_modules
from vlm_models.capabilities import CapabilityError

SCALARS = ("logit", "log-probability")
_FUSED = "sdpa"


@dataclasses.dataclass(frozen=True)
class AnswerRelevance:
    """What the tokens of given answers rest on.

    Attributes:
        maps: relevance of every patch for every token, any scale; zero for padding. Several views where a model sees
            parts of the image enlarged; what they show is decided by its processor.
        log_probabilities: of every token after all before it; zero for padding.
        tokens: ids of the answers.
        known: which tokens are no padding of shorter answers.
    """

    maps: Float[Tensor, "n length views rows columns"]
    log_probabilities: Float[Tensor, "n length"]
    tokens: Int64[Tensor, "n length"]
    known: Bool[Tensor, "n length"]

    @property
    def whole(self) -> Float[Tensor, "n views rows columns"]:
        """The relevance for whole answers: the sum over their tokens."""
        return self.maps.sum(dim=1)


def answer_relevance(
    model: Any,
    inputs: Mapping[str, Tensor],
    answers: Sequence[Sequence[int]],
    *,
    layers: str = LAST,
    scalar: str = "logit",
) -> AnswerRelevance:
    """Explain given answers of a decoder-only model of transformers (LLaVA, Qwen-VL, Idefics 3, SmolVLM).

    The answer is forced: it follows the prompt whether or not the model would say it, so wrong answers can be explained
    as well as right ones. For every token, attention of the language model is weighted by its gradient, as
    `relevance_row` defines it, from the position that predicts the token to the image tokens. The model is left as it
    was found; memory grows with layers x length^2, and with several layers every token costs a backward pass.

    Args:
        model: a model of transformers for conditional generation.
        inputs: what its processor returned for images and prompts, padded on the left; on the device of the model.
        answers: token ids for every prompt, without padding.
        layers: of the language model, see `RelevanceOptions`.
        scalar: `logit` of each token, or its `log-probability`.

    Raises:
        CapabilityError: if the language model or its image tokens are not found.
        CallError: if the answers do not fit the prompts, or images form no common grid.
        VlmModelsError: if a layer computes attention in a way that cannot be recorded.
    """
    if scalar not in SCALARS:
        raise unknown_name("scalar", scalar, SCALARS)
    image_token, modules = _image_token(model), _language_attention(model)
    first = RelevanceOptions(layers=layers).first_layer(len(modules))
    with undisturbed(model), _computing_fused(model.get_decoder()):
        given = {name: value.clone() if value.is_inference() else value for name, value in inputs.items()}
        tokens, known = padded_answers(answers, given["input_ids"])
        asked = continued(given, tokens, known)
        places = image_places(asked["input_ids"], image_token, given, merged_patches(model.config))
        with record_modules(modules, range(first, len(modules))) as attention:
            logits = _logits(model, asked, tokens.shape[1])
        odds = logits.log_softmax(dim=-1)
        chosen = (logits if scalar == "logit" else odds).gather(2, tokens[:, :, None])[:, :, 0]
        maps = _maps(chosen * known, attention.probabilities, places) * known[:, :, None, None, None]
        return AnswerRelevance(maps, odds.detach().gather(2, tokens[:, :, None])[:, :, 0] * known, tokens, known)


def _logits(model: Any, inputs: Mapping[str, Tensor], length: int) -> Float[Tensor, "n length words"]:
    """Return the logits that predict the last tokens, in single precision; the others are not computed if possible."""
    limit = {"logits_to_keep": length + 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    return model(**inputs, use_cache=False, **limit).logits[:, -length - 1 : -1].float()


def _maps(
    scores: Tensor, probabilities: list[Tensor], places: ImagePlaces
) -> Float[Tensor, "n length views rows columns"]:
    """Return the relevance of image tokens for the score of every token; the last position predicts nothing."""
    count, length = scores.shape
    found = []
    for token, gradients in enumerate(token_gradients(scores, probabilities, alone=len(probabilities) == 1)):
        place = probabilities[-1].shape[-1] - length - 1 + token
        row = relevance_row(probabilities, gradients, torch.full((count,), place, device=scores.device)).detach()
        found.append(row.gather(1, places.positions.flatten(1)).unflatten(1, places.positions.shape[1:]))
    return torch.stack(found, dim=1).unflatten(3, places.grid)


def token_gradients(
    scores: Float[Tensor, "n length"], probabilities: list[Float[Tensor, "n heads queries keys"]], *, alone: bool
) -> Iterator[list[Tensor]]:
    """Yield for every token the derivatives of its scores by the attention of each layer.

    Of the last layer alone one backward pass serves all tokens: a row of it acts on nothing but the prediction at its
    own place, and no other row is read.

    Args:
        scores: one per token.
        probabilities: of the layers.
        alone: whether this is the last layer and no other.
    """
    length = scores.shape[1]
    if alone:
        found = list(torch.autograd.grad(scores.sum(), probabilities))
        yield from (found for _ in range(length))
        return
    for token in range(length):
        yield list(
            torch.autograd.grad(scores[:, token].sum(), probabilities, retain_graph=True, materialize_grads=True)
        )


def _image_token(model: Any) -> int:
    names = ("image_token_id", "image_token_index")
    found = [value for value in (getattr(model.config, name, None) for name in names) if isinstance(value, int)]
    if not found:
        raise CapabilityError(
            f"a {type(model).__name__} has no token that stands for a patch of an image: its configuration has no "
            f"{' or '.join(names)}. Expected a decoder that reads image tokens among its words, such as LLaVA; models "
            "with cross-attention to the image are explained by that."
        )
    return found[0]


def _language_attention(model: Any) -> list[nn.Module]:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    modules = [getattr(layer, "self_attn", None) for layer in getattr(decoder, "layers", ())]
    if not modules or None in modules:
        raise CapabilityError(
            f"the language model of a {type(model).__name__} is not built of layers with self-attention throughout. "
            "Expected `get_decoder().layers[i].self_attn`, as transformers has it for LLaVA, Qwen-VL and SmolVLM."
        )
    return [module for module in modules if module is not None]


@contextlib.contextmanager
def _computing_fused(decoder: Any) -> Iterator[None]:
    """Let a language model take PyTorch's attention, which is what can be recorded; afterwards it takes its own."""
    before = decoder.config._attn_implementation
    if before == _FUSED:
        yield
        return
    decoder.set_attn_implementation(_FUSED)
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)
