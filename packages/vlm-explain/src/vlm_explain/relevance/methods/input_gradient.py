"""Gradient times input: how much each pixel adds to the score, were the model linear (Shrikumar et al. 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor

from vlm_explain.relevance.options import MethodInfo, RelevanceOptions
from vlm_explain.relevance.score import Score
from vlm_models.classifier import Classifier

INFO = MethodInfo(
    "gradient of the score times the pixels, for any image tower (Shrikumar et al. 2017); pixel by pixel and noisy: a "
    "baseline",
    capabilities=("image",),
    layered=False,
)


def gradient_times_input(
    inputs: Float[Tensor, "n channels h w"], gradients: Float[Tensor, "n channels h w"]
) -> Float[Tensor, "n h w"]:
    """Return the sum over channels of `|gradient * input|`.

    Example:
        >>> gradient_times_input(torch.tensor([[[[2.0]], [[-1.0]]]]), torch.tensor([[[[3.0]], [[4.0]]]]))
        tensor([[[10.]]])
    """
    return (gradients * inputs).abs().sum(dim=1)


def relevance(
    model: Classifier, images: Tensor, score_of: Score, options: RelevanceOptions
) -> tuple[Float[Tensor, "n rows columns"], Float[Tensor, "n c"]]:
    """Return the relevance of pixels for the score, and the logits.

    The input is the normalised image, so a pixel of the mean colour of the training images has no relevance. The graph
    goes through the whole image tower: the dearest of the methods.
    """
    pixels = model.encoder.preprocess.normalise(images).detach().float().requires_grad_()
    logits = model(pixels)
    (gradients,) = torch.autograd.grad(score_of(logits).sum(), [pixels])
    return gradient_times_input(pixels.detach(), gradients), logits.detach()
