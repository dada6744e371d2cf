"""Leaving a model as it was found."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from vlm_data.errors import CallError
from vlm_models.interface import evaluating, freeze


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Run a block with gradients of activations only; afterwards the model is as it was, also after an error.

    In the block the model is in evaluation mode, no parameter asks for a gradient (so that a graph starts where
    something is recorded and `.grad` stays untouched), and gradients are computed even if the caller has turned them
    off by `torch.no_grad` or `torch.inference_mode`.

    Raises:
        CallError: if the model was built inside `torch.inference_mode`: no gradient can use its tensors.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> with torch.no_grad(), undisturbed(layer):
        ...     layer.weight.requires_grad, torch.is_grad_enabled()
        (False, True)
        >>> layer.weight.requires_grad
        True
    """
    if any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers())):
        raise CallError(
            "the model was built inside torch.inference_mode, so its weights cannot take part in a gradient. "
            "Expected a model built outside of it; calling it inside is possible."
        )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    freeze(trained)
    try:
        with evaluating(model), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
