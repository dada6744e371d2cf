"""Penalties on the last linear maps of the two towers."""

import torch
from jaxtyping import Float
from torch import Tensor

from vlm_finetune.losses.precision import full_precision, widen


def orthogonality(projection: Float[Tensor, "width d"], *, squared: bool = False) -> Float[Tensor, ""]:
    """Return how far the columns of a projection are from orthonormal.

    `||W^T W - I||_F` (Oh et al. 2024, CaRot, l_orth). The published program does not square the norm, the paper does;
    the coefficient 0.2 belongs to the un-squared one. The gradient at an orthonormal matrix is zero, not NaN.

    Args:
        projection: W, maps tower width to the d dimensions of the embedding. Pass the transpose of a `Linear` weight
            (d x width, the attention pool of a ResNet). If width < d the least value is sqrt(d - width).
        squared: return the square, as the paper prints it.

    Returns:
        () >= 0; zero exactly when the columns are orthonormal.

    Example:
        >>> orthogonality(torch.eye(3)), orthogonality(torch.zeros(3, 4))
        (tensor(0.), tensor(2.))
    """
    with full_precision(projection):
        (weight,) = widen(projection)
        residual = weight.T @ weight - torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
        # the gradient of this norm at zero is defined as zero, unlike that of sqrt(sum of squares)
        return residual.square().sum() if squared else torch.linalg.matrix_norm(residual)


def cross_norm(
    visual_projection: Float[Tensor, "visual_width d"], text_projection: Float[Tensor, "text_width d"]
) -> Float[Tensor, ""]:
    """Return the size of the product of the two projections, `||W_v W_t^T||_F`, not squared.

    The regulariser of the linear contrastive loss in the analysis behind CaRot (Oh et al. 2024), part of its published
    recipe with coefficient 0.05. Its gradient at a zero product is zero, not NaN.

    Args:
        visual_projection: W_v, maps the width of the image tower to the embedding.
        text_projection: W_t, maps the width of the text tower to the embedding.

    Example:
        >>> cross_norm(torch.eye(4), torch.eye(4))
        tensor(2.)
    """
    with full_precision(visual_projection):
        visual, text = widen(visual_projection, text_projection)
        return torch.linalg.matrix_norm(visual @ text.T)
