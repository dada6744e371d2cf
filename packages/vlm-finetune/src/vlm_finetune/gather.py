"""All rows of all processes, with the exact gradient."""

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor


def world_size() -> int:
    """Return the number of processes of the default process group, 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def first_row(rows: int) -> int:
    """Return where the own rows start among the gathered ones, when every process holds `rows` of them.

    Example:
        >>> first_row(8)
        0
    """
    return dist.get_rank() * rows if world_size() > 1 else 0


def gather_rows(rows: Shaped[Tensor, "b *rest"]) -> Shaped[Tensor, "n *rest"]:
    """Return the rows of all processes, in the order of their ranks, keeping the gradient of every row.

    The gradient of a row is the sum of what all processes ask of it, so it is that of the sum of their losses.
    A wrapper that averages gradients over processes (DDP) then yields that of the mean loss, exactly.
    Without a process group, or with one process, the rows themselves are returned.

    Every process must call this, with the same number of rows and the same dtype; a call on one process alone
    waits for the others forever. Integer rows (labels) are gathered too and carry no gradient.

    Example:
        >>> gather_rows(torch.tensor([3, 1]))
        tensor([3, 1])
    """
    return _GatherRows.apply(rows) if world_size() > 1 else rows  # type: ignore[return-value]  # apply is untyped


def gather_ragged(rows: Shaped[Tensor, "k *rest"]) -> Shaped[Tensor, "n *rest"]:
    """Return the rows of all processes where each may hold any number of them, none included; see `gather_rows`.

    Shorter parts are filled up for the exchange. Every process must call this, with the same dtype.

    Example:
        >>> gather_ragged(torch.tensor([[3.0], [1.0]]))
        tensor([[3.],
                [1.]])
    """
    if world_size() == 1:
        return rows
    counts = gather_rows(torch.tensor([len(rows)], device=rows.device)).tolist()
    longest = max(counts)
    filled = torch.cat((rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])))
    parts = gather_rows(filled).split(longest) if longest else [rows]
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=False)])


class _GatherRows(torch.autograd.Function):
    """`torch.distributed`'s own gathers either drop the gradient or are deprecated; this one does neither."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor) -> Tensor:
        everyone = rows.new_empty((world_size() * rows.shape[0], *rows.shape[1:]))
        dist.all_gather_into_tensor(everyone, rows.contiguous())
        return everyone

    @staticmethod
    @torch.autograd.function.once_differentiable  # its annotation drops the names of the arguments
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: torch.autograd.function.FunctionCtx, *grads: Tensor
    ) -> Tensor:
        (grad,) = grads
        own = grad.new_empty((grad.shape[0] // world_size(), *grad.shape[1:]))
        dist.reduce_scatter_tensor(own, grad.contiguous())
        return own
