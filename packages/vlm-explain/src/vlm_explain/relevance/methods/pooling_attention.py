"""Gradient-weighted attention of the head that pools patches, for towers that have no class token."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from vlm_explain.relevance.options import MethodInfo, RelevanceOptions
from vlm_explain.relevance.recursion import row_below
from vlm_explain.relevance.score import Score
from vlm_models.attention import record_modules
from vlm_models.classifier import Classifier

INFO = MethodInfo(
    "attention of the pooling head to the patches, weighted by how much it adds to the score, for towers without a "
    "class token such as SigLIP's (the rule of Chefer et al. 2021)",
    capabilities=("pooling attention", "tokens"),
)


def pooled_relevance(
    pooling: Float[Tensor, "n heads queries tokens"],
    pooling_gradients: Float[Tensor, "n heads queries tokens"],
    probabilities: Sequence[Float[Tensor, "n heads tokens tokens"]] = (),
    gradients: Sequence[Float[Tensor, "n heads tokens tokens"]] = (),
) -> Float[Tensor, "n tokens"]:
    """Return how relevant every token is for what a pooling head makes of them.

    `r = sum_q mean_h max(G * A, 0)` of the head, then `r <- r + r C_l` with `C_l = mean_h max(G_l * A_l, 0)`, from the
    last layer down: the head stands where the row of the class token stands in other towers. Queries that the score
    does not depend on have no gradient, so the sum leaves them out.

    Args:
        pooling: A of the head.
        pooling_gradients: G of the head.
        probabilities: A_l of consecutive layers up to the last, first layer first; may be empty.
        gradients: G_l, as many.

    Example:
        >>> import torch
        >>> A = torch.tensor([[[[0.75, 0.25]]]])
        >>> pooled_relevance(A, torch.tensor([[[[2.0, -1.0]]]]))
        tensor([[1.5000, 0.0000]])
    """
    return row_below((pooling_gradients * pooling).clamp_min(0).mean(dim=1).sum(dim=1), probabilities, gradients)


def relevance(
    model: Classifier, images: Tensor, score_of: Score, options: RelevanceOptions
) -> tuple[Float[Tensor, "n rows columns"], Float[Tensor, "n c"]]:
    """Return the relevance of patches for the score, and the logits: one forward and one backward pass.

    The head counts as the layer after the last: with `layers=last` it is used alone, with `all` it and every layer of
    the tower, and `-3` means it and the last two.
    """
    encoder = model.encoder
    below = encoder.attention_modules("vision") if "vision attention" in encoder.capabilities else []
    modules = [*below, *encoder.attention_modules("pooling")]
    with record_modules(modules, range(options.first_layer(len(modules)), len(modules))) as attention:
        output = encoder.vision_tokens(images)
        logits = model.head(output.features)
    *gradients, last = (found.float() for found in attention.gradients(score_of(logits).sum()))
    *probabilities, head = (found.float() for found in attention.probabilities)
    row = pooled_relevance(head, last, probabilities, gradients).detach()
    return row[:, output.prefix_tokens :].unflatten(1, output.grid), logits.detach()
