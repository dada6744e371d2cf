"""The optimiser of all methods: AdamW, one learning rate for every parameter."""

from typing import Any

import torch
from torch import nn

from vlm_data.errors import CallError


def parameter_groups(model: nn.Module, weight_decay: float, *, exclude_vectors: bool = False) -> list[dict[str, Any]]:
    """Return the trainable parameters of a model, with their weight decay, as `torch.optim` wants them.

    The published programs decay everything: biases, norms, embeddings, class token and log-scale included.

    Args:
        model: parameters with `requires_grad=False` are left out.
        weight_decay: of all parameters, or of those with two or more dimensions.
        exclude_vectors: do not decay parameters with fewer than two dimensions (biases, norm gains, log-scale).

    Raises:
        CallError: if nothing is trainable.

    Example:
        >>> groups = parameter_groups(nn.Linear(2, 3), 0.1, exclude_vectors=True)
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
        [(1, 0.1), (1, 0.0)]
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise CallError(
            f"{type(model).__name__} has no trainable parameter. Expected at least one with requires_grad=True. "
            "Unfreeze what the method should train."
        )
    decayed = [parameter for parameter in trainable if parameter.ndim >= 2 or not exclude_vectors]
    spared = [parameter for parameter in trainable if parameter.ndim < 2 and exclude_vectors]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def adamw(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    *,
    exclude_vectors: bool = False,
) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters: `p *= 1 - lr * weight_decay`, then the Adam step.

    One kernel per group on devices that have it (`fused`): the loop of a small model is bound by launches.
    The rate of a step is set in `param_groups` before it is taken, see `vlm_finetune.schedule`.

    Raises:
        CallError: if nothing is trainable.

    Example:
        >>> adamw(nn.Linear(2, 2), lr=1e-3, weight_decay=0.1).param_groups[0]["fused"]
        True
    """
    groups = parameter_groups(model, weight_decay, exclude_vectors=exclude_vectors)
    fused = all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=fused)
