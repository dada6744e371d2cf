"""Images of one kind pulled together and of different kinds pushed apart, by the mean of their cosines."""

from jaxtyping import Float, Int64
from torch import Tensor

from vlm_finetune.gather import gather_rows
from vlm_finetune.losses.logits import scaled_cosines


def similarity_gap(features: Float[Tensor, "b d"], kinds: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
    """Return the sum of cosines of images of different kinds minus that of the same kind, per pair of the batch.

    `1 / n^2 sum_ij cos(i, j) (1[k_i != k_j] - 1[k_i = k_j])`: the in-modal term of the program of Yang et al. 2023,
    used there once with classes and once with the spurious attribute as kinds. A pair in which a kind is unknown
    counts as 0.

    Under several processes this is a collective call; the mean of the values is that of the whole batch.

    Args:
        features: (b, d) unit-norm rows.
        kinds: of the images, -1 where unknown.

    Returns:
        () in [-1, 1].

    Example:
        >>> import torch
        >>> similarity_gap(torch.eye(2), torch.tensor([0, 1])), similarity_gap(torch.ones(2, 1), torch.tensor([0, 1]))
        (tensor(-0.5000), tensor(0.))
    """
    everyone, everyones = gather_rows(features), gather_rows(kinds)
    cosines = scaled_cosines(features, everyone, 1.0)
    sign = 1 - 2 * (kinds[:, None] == everyones[None, :]).to(cosines.dtype)
    known = (kinds >= 0)[:, None] & (everyones >= 0)[None, :]
    return (cosines * sign * known).mean()
