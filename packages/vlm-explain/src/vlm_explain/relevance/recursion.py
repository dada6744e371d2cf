"""Gradient-weighted attention of several layers, taken together (Chefer et al. 2021, for one sequence of tokens)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def relevance_row(
    probabilities: Sequence[Float[Tensor, "n heads tokens tokens"]],
    gradients: Sequence[Float[Tensor, "n heads tokens tokens"]],
    position: Int64[Tensor, " n"] | None = None,
) -> Float[Tensor, "n tokens"]:
    """Return how relevant every token is for the token the score is read from.

    `C_l = mean_h max(G_l * A_l, 0)`, elementwise, clamped before the mean over heads; the result is one row of
    `(I + C_L) ... (I + C_1) - I`. Only that row is computed, from the last layer down: `r <- r + r C_l`, starting from
    the unit vector of the position, so no product of matrices is formed.

    Args:
        probabilities: A_l of consecutive layers up to the last, first layer first.
        gradients: G_l, derivatives of the sum of the scores by them.
        position: token that each score is read from; None = the first of all.

    Example:
        >>> A = torch.tensor([[[[0.5, 0.5], [0.2, 0.8]]]])
        >>> relevance_row([A, A], [torch.ones_like(A), torch.ones_like(A)])
        tensor([[1.3500, 1.6500]])
    """
    wide = torch.promote_types(probabilities[-1].dtype, torch.float32)  # BLIP's own attention stays in half precision
    probabilities, gradients = ([layer.to(wide) for layer in layers] for layers in (probabilities, gradients))
    last = probabilities[-1]
    rows = torch.arange(len(last), device=last.device)
    at = torch.zeros_like(rows) if position is None else position
    start = torch.zeros(last.shape[0], last.shape[-1], dtype=last.dtype, device=last.device)
    start[rows, at] = 1
    row = start + (gradients[-1][rows, :, at] * last[rows, :, at]).clamp_min(0).mean(dim=1)  # only one row matters
    return row_below(row, probabilities[:-1], gradients[:-1]) - start


def row_below(
    row: Float[Tensor, "n tokens"],
    probabilities: Sequence[Float[Tensor, "n heads tokens tokens"]],
    gradients: Sequence[Float[Tensor, "n heads tokens tokens"]],
) -> Float[Tensor, "n tokens"]:
    """Return the relevance of tokens below some layers, given that above them: `r <- r + r C_l`, the last layer first.

    Args:
        row: r above the layers.
        probabilities: A_l, first layer first; none leave the row as it is.
        gradients: G_l, as many.

    Example:
        >>> A = torch.tensor([[[[0.5, 0.5], [0.2, 0.8]]]])
        >>> row_below(torch.tensor([[1.0, 0.0]]), [A], [torch.ones_like(A)])
        tensor([[1.5000, 0.5000]])
    """
    for attention, gradient in zip(reversed(probabilities), reversed(gradients), strict=True):
        weighted = (gradient * attention).clamp_min(0).mean(dim=1)
        row = row + (row[:, None] @ weighted)[:, 0]
    return row
