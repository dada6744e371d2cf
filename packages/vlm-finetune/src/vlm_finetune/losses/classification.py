"""The loss of classifiers with a linear head."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from vlm_finetune.losses.precision import widen


def classification(
    logits: Float[Tensor, "b c"], labels: Int64[Tensor, " b"], *, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Return the cross-entropy of class logits, averaged over the batch, in float32 at least.

    `(1 - e) (-log p_y) + e mean_c(-log p_c)`: the smoothing mass e is spread over all classes, the right one included.

    Args:
        logits: (b, c) any floating dtype.
        labels: (b,) in [0, c).
        label_smoothing: e in [0, 1].

    Example:
        >>> import torch
        >>> classification(torch.zeros(1, 4), torch.tensor([2]))
        tensor(1.3863)
    """
    (wide,) = widen(logits)
    return functional.cross_entropy(wide, labels, label_smoothing=label_smoothing)
