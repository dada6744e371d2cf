"""Grad-CAM (Selvaraju et al. 2017): the channels of the last feature map, weighted by their mean gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from vlm_explain.relevance.options import MethodInfo, RelevanceOptions
from vlm_explain.relevance.score import Score
from vlm_models.classifier import Classifier
from vlm_models.feature_maps import last_feature_map

INFO = MethodInfo(
    "channels of the last feature map weighted by their mean gradient, for ResNets; of a transformer the tokens that "
    "its last attention reads (Grad-CAM, Selvaraju et al. 2017)",
    capabilities=("image",),
    layered=False,
)


def class_activation(
    activations: Float[Tensor, "n channels rows columns"], gradients: Float[Tensor, "n channels rows columns"]
) -> Float[Tensor, "n rows columns"]:
    """Return `ReLU(sum_k alpha_k A_k)` with `alpha_k` the mean of the gradient over all places.

    Args:
        activations: A, the feature map.
        gradients: derivatives of the sum of the scores by it.

    Example:
        >>> A = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
        >>> class_activation(A, torch.tensor([[[[1.0, 3.0]], [[-1.0, -1.0]]]]))
        tensor([[[0., 4.]]])
    """
    return torch.einsum("nkhw,nk->nhw", activations, gradients.mean(dim=(2, 3))).clamp_min(0)


def relevance(
    model: Classifier, images: Tensor, score_of: Score, options: RelevanceOptions
) -> tuple[Float[Tensor, "n rows columns"], Float[Tensor, "n c"]]:
    """Return the relevance of places for the score, and the logits: one forward pass, and a backward pass of its end.

    The definition knows one map, the last; the option `layers` has no effect. It was made for convolutions, whose
    channels are at zero where they see nothing. Tokens of a transformer have no such zero, and their maps are poor: on
    `digits` with the `tiny` model a third of the relevance lies on the ink, no more than its share of the area, of the
    method `attention` more than half. Take it for ResNets.

    Raises:
        CapabilityError: if no feature map of the image tower is known.
    """
    found = last_feature_map(model.encoder, images)
    logits = model.head(found.features)
    (gradients,) = torch.autograd.grad(score_of(logits).sum(), [found.node])
    activations = found.places(found.node.detach()).float()
    return class_activation(activations, found.places(gradients).float()), logits.detach()
