"""The bias of attention keys: a parameter without effect, whose gradient is nothing but rounding."""

import torch
from torch import Tensor, nn


def silence_key_biases(model: nn.Module) -> None:
    """Let the biases of attention keys have the gradient zero, which is theirs.

    `softmax_j(q_i (k_j + b)) = softmax_j(q_i k_j)`: the term `q_i b` is the same for every key j. What
    backpropagation computes for b is rounding noise. Adam divides by the size of the gradient and makes full steps of
    it, other ones for each way to cut a batch: two processes would end with other weights than one.

    Covers `nn.MultiheadAttention`, the attention pooling of CLIP's ResNets, and attention of timm, BERT and
    transformers, whose maps are called `qkv`, `key` or `k_proj`; not for
    rotary positions, which turn the bias by position and so give it an effect. Weight decay still acts on the bias.

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
        if not isinstance(getattr(module, "k_norm", None), nn.Identity | None):
            continue  # a norm between bias and product: the bias has an effect
        for name, silence in _MAPS.items():
            bias = getattr(getattr(module, name, None), "bias", None)
            if isinstance(bias, nn.Parameter) and bias.requires_grad:
                bias.register_hook(silence)


def _without_keys(gradient: Tensor) -> Tensor:
    """Zero the middle third of the gradient of (query, key, value) biases."""
    query, key, value = gradient.chunk(3)
    return torch.cat((query, torch.zeros_like(key), value))


_MAPS = {"qkv": _without_keys, "key": torch.zeros_like, "k_proj": torch.zeros_like}
"""Linear maps with keys among their outputs, by the names libraries give them."""
