"""Losses are computed in float32 at least, whatever precision the towers run in."""

import contextlib
import functools

import torch
from jaxtyping import Float
from torch import Tensor


def widen(*tensors: Float[Tensor, "..."]) -> list[Float[Tensor, "..."]]:
    """Return the tensors in their common dtype, float32 or wider.

    Near 100, the logit scale of pretrained dual encoders, bfloat16 has steps of 0.5: too coarse for a softmax.

    Example:
        >>> [tensor.dtype for tensor in widen(torch.ones(1, dtype=torch.bfloat16), torch.ones(1))]
        [torch.float32, torch.float32]
        >>> widen(torch.ones(1, dtype=torch.float64))[0].dtype
        torch.float64
    """
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    return [tensor.to(dtype) for tensor in tensors]


def full_precision(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """Return a context in which autocast leaves matrix products on the device of `tensor` alone.

    Example:
        >>> square = torch.ones(1, 1)
        >>> with torch.autocast("cpu", torch.bfloat16), full_precision(square):
        ...     (square @ square).dtype
        torch.float32
    """
    return torch.autocast(tensor.device.type, enabled=False)
