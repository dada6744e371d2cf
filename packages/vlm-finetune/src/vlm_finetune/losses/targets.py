"""The contrastive loss by the name of its target: which columns of the batch every row is pulled towards."""

from jaxtyping import Float, Int64
from torch import Tensor

from vlm_data.errors import unknown_name
from vlm_finetune.errors import RecipeError
from vlm_finetune.losses.contrastive import contrastive_from_logits
from vlm_finetune.losses.label_aware import (
    exclusive_from_logits,
    soft_targets_from_logits,
    without_collisions_from_logits,
)
from vlm_finetune.losses.logits import PairLogits

TARGETS = ("identity", "soft", "without-collisions", "supervised")
"""`identity` is the plain loss and knows no labels; the others are the forms of `vlm_finetune.losses.label_aware`."""


def contrastive_towards(
    pairs: PairLogits, targets: str, labels: Int64[Tensor, " b"], *, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Return the contrastive loss of logits with the target of that name.

    Under several processes this is a collective call for every target but `identity`: labels are gathered.

    Args:
        pairs: of the own rows.
        targets: one of `TARGETS`.
        labels: (b,) class of every own pair; not looked at for `identity`.
        label_smoothing: in [0, 1]; only `identity` and `soft` have a place for it.

    Raises:
        CallError: for an unknown target, smoothing that it has no place for, or a single pair for `supervised`.

    Example:
        >>> import torch
        >>> from vlm_finetune.losses import pair_logits
        >>> pairs = pair_logits(torch.eye(2), torch.eye(2), 1.0)
        >>> [round(contrastive_towards(pairs, name, torch.tensor([5, 5])).item(), 3) for name in TARGETS]
        [0.313, 0.813, 0.0, 0.0]
    """
    if targets not in TARGETS:
        raise unknown_name("target", targets, TARGETS)
    check_smoothing(targets, label_smoothing)
    if targets == "identity":
        return contrastive_from_logits(pairs, label_smoothing=label_smoothing)
    if targets == "soft":
        return soft_targets_from_logits(pairs, labels, label_smoothing=label_smoothing)
    return (without_collisions_from_logits if targets == "without-collisions" else exclusive_from_logits)(pairs, labels)


def check_smoothing(targets: str, label_smoothing: float) -> None:
    """Raise unless a target can be smoothed as wanted.

    A column that was removed has no share to receive, and the supervised form is no cross-entropy of a distribution.

    Raises:
        RecipeError: with the names of the settings of `flyp` and `carot`.

    Example:
        >>> check_smoothing("supervised", 0.0)
    """
    if label_smoothing and targets not in ("identity", "soft"):
        raise RecipeError(
            f"label_smoothing is {label_smoothing:g}, but targets {targets!r} cannot be smoothed; expected 0, or "
            "targets identity or soft. Change one of them."
        )
