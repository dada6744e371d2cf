"""Contrastive losses that know which pairs of the batch share a class.

With few classes a batch is full of class collisions: pairs of one class that the plain loss drives apart. All three
forms keep the plain one's average over rows, directions and processes, and equal it when all classes differ
(the exclusive one up to its denominator).
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_finetune.gather import gather_rows
from vlm_finetune.losses.logits import PairLogits, pair_logits


def contrastive_soft_targets(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "b d"],
    logit_scale: Float[Tensor, ""] | float,
    labels: Int64[Tensor, " b"],
) -> Float[Tensor, ""]:
    """Return the contrastive loss whose target is uniform over the columns of the own class.

    `-sum_j Q_ij log softmax(L)_ij` with `Q_ij = [y_i = y_j] / #{k: y_k = y_i}`. Its minimum is not 0 but the
    entropy of Q, reached when equal classes have equal features.

    Args:
        image_features: (b, d) unit-norm rows.
        text_features: (b, d) unit-norm rows, partner by partner.
        logit_scale: s, multiplies the cosines.
        labels: (b,) class of every pair.

    Example:
        >>> contrastive_soft_targets(torch.eye(2), torch.eye(2), 0.0, torch.tensor([5, 5]))
        tensor(0.6931)
    """
    return soft_targets_from_logits(pair_logits(image_features, text_features, logit_scale), labels)


def soft_targets_from_logits(
    pairs: PairLogits, labels: Int64[Tensor, " b"], *, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Return `contrastive_soft_targets` for logits that are already there.

    Args:
        pairs: of the own rows.
        labels: (b,) class of every own pair.
        label_smoothing: e in [0, 1]; the target becomes `(1 - e) Q + e / n`, n the number of columns.

    Raises:
        CallError: if there is not one label per pair.

    Example:
        >>> pairs = pair_logits(torch.eye(2), torch.eye(2), 1.0)
        >>> soft_targets_from_logits(pairs, torch.tensor([0, 1]), label_smoothing=1.0)
        tensor(0.8133)
    """
    targets = _shares(_same_class_of(pairs, labels), pairs.logits_per_image.dtype)
    return _mean_of_directions(
        pairs, lambda logits: functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    )


def contrastive_without_collisions(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "b d"],
    logit_scale: Float[Tensor, ""] | float,
    labels: Int64[Tensor, " b"],
) -> Float[Tensor, ""]:
    """Return the contrastive loss with the other pairs of the own class removed from the denominator.

    `lse over {i} and {j: y_j != y_i} of L_ij, minus L_ii` (Goyal et al. 2023, "removing class collisions").
    A row whose whole batch is of its class costs nothing. Arguments as in `contrastive_soft_targets`.

    Example:
        >>> contrastive_without_collisions(torch.eye(2), torch.eye(2), 1.0, torch.tensor([5, 5]))
        tensor(0.)
    """
    return without_collisions_from_logits(pair_logits(image_features, text_features, logit_scale), labels)


def without_collisions_from_logits(pairs: PairLogits, labels: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
    """Return `contrastive_without_collisions` for logits that are already there.

    Raises:
        CallError: if there is not one label per pair.

    Example:
        >>> without_collisions_from_logits(pair_logits(torch.eye(2), torch.eye(2), 1.0), torch.tensor([0, 1]))
        tensor(0.3133)
    """
    same = _same_class_of(pairs, labels)
    removed = same & ~functional.one_hot(pairs.targets, same.shape[1]).bool()
    return _mean_of_directions(
        pairs, lambda logits: functional.cross_entropy(logits.masked_fill(removed, -torch.inf), pairs.targets)
    )


def contrastive_exclusive(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "b d"],
    logit_scale: Float[Tensor, ""] | float,
    labels: Int64[Tensor, " b"],
) -> Float[Tensor, ""]:
    """Return the supervised contrastive loss whose denominators leave out the positive in the numerator.

    Mean over `{j: y_j = y_i}` of `log(1 - p_ij) - log p_ij`, `p = softmax(L)` by row: minus the log of `exp(L_ij)`
    over the sum of all OTHER entries of the row, the other positives among them. It can be negative and has no
    lower bound. The published program cannot differentiate it; this one can, also where p rounds to 1.
    Arguments as in `contrastive_soft_targets`.

    Raises:
        CallError: if the batch holds a single pair, because nothing is left for its denominator.

    Example:
        >>> contrastive_exclusive(torch.eye(2), torch.eye(2), 1.0, torch.tensor([0, 1]))
        tensor(-1.)
    """
    return exclusive_from_logits(pair_logits(image_features, text_features, logit_scale), labels)


def exclusive_from_logits(pairs: PairLogits, labels: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
    """Return `contrastive_exclusive` for logits that are already there.

    Raises:
        CallError: if the batch holds a single pair, or there is not one label per pair.

    Example:
        >>> exclusive_from_logits(pair_logits(torch.eye(2), torch.eye(2), 1.0), torch.tensor([0, 1]))
        tensor(-1.)
    """
    if pairs.logits_per_image.shape[1] < 2:
        raise CallError("the exclusive contrastive loss compares pairs and got one. Use a batch of at least two pairs.")
    shares = _shares(_same_class_of(pairs, labels), pairs.logits_per_image.dtype)
    return _mean_of_directions(pairs, lambda logits: -(shares * log_odds(logits)).sum(dim=1).mean())


def log_odds(logits: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Return `log(p / (1 - p))` of a softmax by row, that is `L_ij - lse over k != j of L_ik`.

    At most one entry of a row has p > 1/2, the largest; for it the sum over the others is taken directly, for the
    rest `log(1 - p)` is harmless. So p = 1 within rounding gives the right finite value and gradient.

    Example:
        >>> log_odds(torch.tensor([[300.0, 0.0]], dtype=torch.float64))
        tensor([[ 300., -300.]], dtype=torch.float64)
    """
    largest = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).bool()
    others = logits.masked_fill(largest, -torch.inf).logsumexp(dim=1, keepdim=True)
    log_p = logits.log_softmax(dim=1)
    # the argument is 0 where p is large, so that the branch not taken has no infinite gradient
    rest = torch.log1p(-log_p.masked_fill(largest, -torch.inf).exp())
    return torch.where(largest, logits - others, log_p - rest)


def same_class(labels: Int64[Tensor, " b"]) -> Bool[Tensor, "b n"]:
    """Return which columns of the batch of all processes share the class of each own row.

    Example:
        >>> same_class(torch.tensor([1, 0, 1]))[0]
        tensor([ True, False,  True])
    """
    return labels[:, None] == gather_rows(labels)[None, :]


def _same_class_of(pairs: PairLogits, labels: Tensor) -> Tensor:
    """Return `same_class`, unless there is not one label per pair: a single one would be spread over all rows."""
    rows = len(pairs.logits_per_image)
    if labels.shape != (rows,):
        raise CallError(
            f"{tuple(labels.shape)} labels do not fit {rows} pairs; expected one label per pair, ({rows},)."
        )
    return same_class(labels)


def _shares(same: Tensor, dtype: torch.dtype) -> Tensor:
    return same.to(dtype) / same.sum(dim=1, keepdim=True)


def _mean_of_directions(pairs: PairLogits, loss: Callable[[Tensor], Tensor]) -> Tensor:
    return (loss(pairs.logits_per_image) + loss(pairs.logits_per_text)) / 2
