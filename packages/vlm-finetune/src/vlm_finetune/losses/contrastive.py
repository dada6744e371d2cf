"""The contrastive loss of image-text pairs, the one dual encoders are pretrained with."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlm_finetune.losses.logits import PairLogits, pair_logits


def contrastive(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "b d"],
    logit_scale: Float[Tensor, ""] | float,
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Return how badly images find their own text among all texts of the batch, and texts their image.

    `(CE(s I T^T, diagonal) + CE(s T I^T, diagonal)) / 2`, CE averaged over the rows (Radford et al. 2021, figure 3;
    as a fine-tuning loss Goyal et al. 2023, FLYP). Two images of one class are negatives of each other here, even if
    their captions are equal; `vlm_finetune.losses.label_aware` has the forms that know labels.

    Under several processes the batch is that of all of them and the value is the mean over the own rows; its mean
    over processes is the loss of the whole batch, and DDP's averaged gradient that of the whole batch (see
    `pair_logits`). Losses of micro-batches added up are not that of the whole batch: see `vlm_finetune.grad_cache`.

    Args:
        image_features: (b, d) unit-norm rows; any floating dtype, computed in float32 at least.
        text_features: (b, d) unit-norm rows, partner by partner.
        logit_scale: s, multiplies the cosines; already exponentiated, for example 100.
        label_smoothing: in [0, 1], share of the target spread evenly over all columns, the right one included.

    Returns:
        () >= 0; 0 for a single pair, log b when all features are equal.

    Raises:
        CallError: if images and texts do not come in pairs, or there are none.

    Example:
        >>> import torch
        >>> contrastive(torch.eye(2), torch.eye(2), 1.0)
        tensor(0.3133)
    """
    pairs = pair_logits(image_features, text_features, logit_scale)
    return contrastive_from_logits(pairs, label_smoothing=label_smoothing)


def contrastive_from_logits(pairs: PairLogits, *, label_smoothing: float = 0.0) -> Float[Tensor, ""]:
    """Return `contrastive` for logits that are already there, for example shared with the distillation.

    Example:
        >>> import torch
        >>> contrastive_from_logits(pair_logits(torch.eye(2), torch.eye(2), 1.0), label_smoothing=1.0)
        tensor(0.8133)
    """
    per_image = functional.cross_entropy(pairs.logits_per_image, pairs.targets, label_smoothing=label_smoothing)
    per_text = functional.cross_entropy(pairs.logits_per_text, pairs.targets, label_smoothing=label_smoothing)
    return (per_image + per_text) / 2
