"""Logits of a batch of image-text pairs: what the contrastive and the distillation loss both look at."""

import dataclasses

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vlm_data.errors import CallError
from vlm_finetune.gather import first_row, gather_rows, world_size
from vlm_finetune.losses.precision import full_precision, widen


@dataclasses.dataclass(frozen=True)
class PairLogits:
    """Similarities of the own pairs with the pairs of the whole batch.

    With one process both matrices are square and each is the transpose of the other. With several, every process
    holds its own b rows of each direction against the n columns of all processes, so memory is b n and not n n.

    Attributes:
        logits_per_image: (b, n) own images against all texts.
        logits_per_text: (b, n) own texts against all images.
        first: column of the first own pair; row i belongs to column `first + i`.
    """

    logits_per_image: Float[Tensor, "b n"]
    logits_per_text: Float[Tensor, "b n"]
    first: int = 0

    @property
    def targets(self) -> Int64[Tensor, " b"]:
        """Column of the right partner of every row."""
        rows = self.logits_per_image
        return torch.arange(self.first, self.first + rows.shape[0], device=rows.device)


def scaled_cosines(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "c d"],
    logit_scale: Float[Tensor, ""] | float,
) -> Float[Tensor, "b c"]:
    """Return s I T^T in float32 at least, whatever autocast says: the logits of images over some texts.

    Args:
        image_features: (b, d) unit-norm rows.
        text_features: (c, d) unit-norm rows, for example one per class.
        logit_scale: s, multiplies the cosines.

    Example:
        >>> scaled_cosines(torch.eye(2)[:1], torch.eye(2), 10.0)
        tensor([[10.,  0.]])
    """
    images, texts = widen(image_features, text_features)
    with full_precision(images):
        scale = logit_scale.to(images.dtype) if isinstance(logit_scale, Tensor) else logit_scale
        return scale * images @ texts.T


def shard_logits(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "b d"],
    all_image_features: Float[Tensor, "n d"],
    all_text_features: Float[Tensor, "n d"],
    logit_scale: Float[Tensor, ""] | float,
    first: int = 0,
) -> PairLogits:
    """Return the logits of some rows against a whole batch: s I T_all^T and s T I_all^T.

    Args:
        image_features: (b, d) unit-norm rows of this shard.
        text_features: (b, d) unit-norm rows, partner by partner.
        all_image_features: (n, d) rows of the whole batch, the shard's included.
        all_text_features: (n, d) likewise.
        logit_scale: multiplies the cosines (it is no temperature divisor), for example 100.
        first: position of the shard's first row in the whole batch.

    Example:
        >>> own, everyone = torch.eye(4)[2:], torch.eye(4)
        >>> shard_logits(own, own, everyone, everyone, 10.0, first=2).logits_per_image
        tensor([[ 0.,  0., 10.,  0.],
                [ 0.,  0.,  0., 10.]])
    """
    with full_precision(image_features):
        images, texts, all_images, all_texts = widen(
            image_features, text_features, all_image_features, all_text_features
        )
        scale = logit_scale.to(images.dtype) if isinstance(logit_scale, Tensor) else logit_scale
        return PairLogits(scale * images @ all_texts.T, scale * texts @ all_images.T, first)


def pair_logits(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "b d"],
    logit_scale: Float[Tensor, ""] | float,
) -> PairLogits:
    """Return the logits of the own pairs against the pairs of all processes (see `shard_logits`, `gather_rows`).

    When a process group with more than one member is up, this is a collective call: every process makes it, with
    equally many pairs. Averaging the gradients over processes, as DDP does, then gives those of one process that
    holds the whole batch. Gathering without the gradient would make them too small by the number of processes.

    Raises:
        CallError: if images and texts do not come in pairs, or there are none.

    Example:
        >>> pair_logits(torch.eye(2), torch.eye(2), 10.0).logits_per_image
        tensor([[10.,  0.],
                [ 0., 10.]])
    """
    if image_features.shape != text_features.shape or image_features.ndim != 2 or not len(image_features):
        raise CallError(
            f"image features {tuple(image_features.shape)} and text features {tuple(text_features.shape)} "
            "are no batch of pairs. Expected two equal shapes (pairs, embedding size) with at least one pair."
        )
    if world_size() == 1:
        logits = scaled_cosines(image_features, text_features, logit_scale)
        return PairLogits(logits, logits.T)
    images, texts = widen(image_features, text_features)
    # one collective for both towers
    everyone = gather_rows(torch.cat((images, texts), dim=1))
    all_images, all_texts = everyone.split(images.shape[1], dim=1)
    return shard_logits(images, texts, all_images, all_texts, logit_scale, first_row(len(images)))
