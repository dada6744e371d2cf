"""Attention rollout (Abnar and Zuidema 2020): where information flows to, whatever the model concludes from it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vlm_explain.relevance.options import MethodInfo, RelevanceOptions
from vlm_explain.relevance.score import Score
from vlm_models.attention import record_attention
from vlm_models.capabilities import CapabilityError
from vlm_models.classifier import Classifier

INFO = MethodInfo(
    "attention of all layers multiplied, residual connections as one half (Abnar and Zuidema 2020); the same for every "
    "target, so a baseline: it cannot tell why a class was chosen",
    capabilities=("vision attention", "tokens"),
    targeted=False,
    layered=False,
)


def rollout_row(probabilities: Sequence[Float[Tensor, "n heads tokens tokens"]]) -> Float[Tensor, "n tokens"]:
    """Return how much of each input token flows into the first token of the last layer.

    Row 0 of `M_L ... M_1` with `M_l = 0.5 mean_h A_l + 0.5 I`, whose rows sum to 1 as those of A do: nothing is left to
    normalise. Only the row is computed, from the last layer down.

    Args:
        probabilities: A_l of all layers, first layer first.

    Returns:
        Non-negative shares; those of an image sum to 1.

    Example:
        >>> A = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])
        >>> rollout_row([A, A])
        tensor([[0.5625, 0.4375]])
    """
    last = probabilities[-1]
    row = torch.zeros(last.shape[0], last.shape[-1], dtype=last.dtype, device=last.device)
    row[:, 0] = 1
    for attention in reversed(probabilities):
        row = (row + (row[:, None] @ attention.mean(dim=1))[:, 0]) / 2
    return row


@torch.no_grad()
def relevance(
    model: Classifier, images: Tensor, score_of: Score, options: RelevanceOptions
) -> tuple[Float[Tensor, "n rows columns"], Float[Tensor, "n c"]]:
    """Return the shares of patches in the class token, and the logits; one forward pass, no gradient.

    The options `layers`, `target` and `scalar` have no effect: the definition takes all layers and knows no target.

    Raises:
        CapabilityError: if the image tower has no class token.
    """
    encoder = model.encoder
    with record_attention(encoder, "vision") as attention:
        output = encoder.vision_tokens(images)
        logits = model.head(output.features)
    if not output.prefix_tokens or "pooling attention" in encoder.capabilities:
        raise CapabilityError(
            f"{encoder.spec} has no class token that its image feature is read from, so there is no place to follow "
            "attention to. Expected a tower with one; choose a method for towers that pool patches: pooling-attention."
        )
    row = rollout_row([probabilities.float() for probabilities in attention.probabilities])
    return row[:, output.prefix_tokens :].unflatten(1, output.grid), logits
