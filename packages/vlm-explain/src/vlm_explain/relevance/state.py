"""Leaving a model as it was found."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from vlm_models.interface import evaluating, freeze


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Run a block with gradients of activations only; afterwards the model is as it was, also after an error.

    In the block the model is in evaluation mode, no parameter asks for a gradient (so that a graph starts where
    something is recorded and `.grad` stays untouched), and gradients are computed even if the caller has turned them
    off by `torch.no_grad` or `torch.inference_mode`.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> with torch.no_grad(), undisturbed(layer):
        ...     layer.weight.requires_grad, torch.is_grad_enabled()
        (False, True)
        >>> layer.weight.requires_grad
        True
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    freeze(trained)
    try:
        with evaluating(model), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
