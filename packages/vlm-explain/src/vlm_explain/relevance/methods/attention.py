"""Attention of the class token, weighted by its gradient (Chefer et al. 2021)."""

from jaxtyping import Float
from torch import Tensor

from vlm_explain.relevance.options import MethodInfo, RelevanceOptions
from vlm_explain.relevance.recursion import relevance_row
from vlm_explain.relevance.score import Score
from vlm_models.attention import record_attention
from vlm_models.capabilities import CapabilityError
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder

INFO = MethodInfo(
    "attention of the class token to the patches, weighted by how much it adds to the score (Chefer et al. 2021)",
    capabilities=("vision attention", "tokens"),
)


def relevance(
    model: Classifier, images: Tensor, score_of: Score, options: RelevanceOptions
) -> tuple[Float[Tensor, "n rows columns"], Float[Tensor, "n c"]]:
    """Return the relevance of patches for the score, and the logits.

    One forward and one backward pass for the batch: the score of an image depends on no other image, so the gradient
    of the sum is the gradient of each. Below the first recorded layer no graph is built.

    Raises:
        CapabilityError: if the image feature is not read from a class token.
    """
    encoder = model.encoder
    count = len(encoder.attention_modules("vision"))
    with record_attention(encoder, "vision", range(options.first_layer(count), count)) as attention:
        output = encoder.vision_tokens(images)
        logits = model.head(output.features)
    if not output.prefix_tokens:
        raise _no_class_token(encoder, "has no class token, so there is no attention from it to the patches")
    gradients = attention.gradients(score_of(logits).sum())
    if gradients[-1][:, :, 1:].any():
        raise _no_class_token(encoder, "does not read its image feature from the class token alone")
    row = relevance_row(attention.probabilities, gradients).detach()
    return row[:, output.prefix_tokens :].unflatten(1, output.grid), logits.detach()


def _no_class_token(encoder: DualEncoder, what: str) -> CapabilityError:
    return CapabilityError(
        f"{encoder.spec} {what}. Expected an image tower that ends in a class token; "
        "choose a method for towers that pool patches: pooling-attention or grad-cam."
    )
