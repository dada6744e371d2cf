"""Losses over groups of a batch: the mean of each, and weights that follow the worst (group DRO)."""

from jaxtyping import Float, Int64
from torch import Tensor


def group_losses(losses: Float[Tensor, " n"], groups: Int64[Tensor, " n"], count: int) -> Float[Tensor, " count"]:
    """Return the mean loss of every group, 0 for one that has no sample here.

    Args:
        losses: one per sample.
        groups: of every sample, from 0 to `count` - 1; samples of -1 are left out.
        count: of the groups.

    Example:
        >>> import torch
        >>> group_losses(torch.tensor([1.0, 3.0, 5.0, 9.0]), torch.tensor([2, 2, 0, -1]), 3)
        tensor([5., 0., 2.])
    """
    known = groups >= 0
    sums = losses.new_zeros(count).index_add(0, groups[known], losses[known])
    return sums / groups[known].bincount(minlength=count).clamp(min=1)


def moved_group_weights(
    weights: Float[Tensor, " groups"], losses: Float[Tensor, " groups"], step_size: float
) -> Float[Tensor, " groups"]:
    """Return the group weights after one step of group DRO: `q_g exp(eta L_g)`, normalised (Sagawa et al. 2020).

    Args:
        weights: q, non-negative with sum one.
        losses: L, mean loss of every group; no gradient is taken.
        step_size: eta.

    Example:
        >>> import torch
        >>> moved_group_weights(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0986]), 1.0)
        tensor([0.2500, 0.7500])
    """
    moved = weights * (step_size * losses.detach()).exp()
    return moved / moved.sum()
