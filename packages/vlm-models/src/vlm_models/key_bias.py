"""The bias of attention keys: a parameter without effect, whose gradient is nothing but rounding."""

import torch
from torch import Tensor, nn


def silence_key_biases(model: nn.Module) -> None:
    """Let the biases of attention keys have the gradient zero, which is theirs.

    `softmax_j(q_i (k_j + b)) = softmax_j(q_i k_j)`: the term `q_i b` is the same for every key j. What
    backpropagation computes for b is rounding noise. Adam divides by the size of the gradient and makes full steps of
    it, other ones for each way to cut a batch: two processes would end with other weights than one.

    Covers `nn.MultiheadAttention` and the attention pooling of CLIP's ResNets. Weight decay still acts on the bias.

    Example:
        >>> attention = nn.MultiheadAttention(2, 1)
        >>> silence_key_biases(attention)
        >>> x = torch.randn(3, 2)
        >>> attention(x, x, x)[0].square().sum().backward()
        >>> attention.in_proj_bias.grad[2:4]
        tensor([0., 0.])
    """
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            if module.in_proj_bias is not None and module.in_proj_bias.requires_grad:
                module.in_proj_bias.register_hook(_without_keys)
            continue
        keys = getattr(module, "k_proj", None)
        if isinstance(keys, nn.Linear) and keys.bias is not None and keys.bias.requires_grad:
            keys.bias.register_hook(torch.zeros_like)


def _without_keys(gradient: Tensor) -> Tensor:
    """Zero the middle third of the gradient of (query, key, value) biases."""
    query, key, value = gradient.chunk(3)
    return torch.cat((query, torch.zeros_like(key), value))
