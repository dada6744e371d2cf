"""Distillation of a dual encoder from its own slowly moving average."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlm_finetune.losses.logits import PairLogits, pair_logits


def self_distillation(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "b d"],
    logit_scale: Float[Tensor, ""] | float,
    teacher_image_features: Float[Tensor, "b e"],
    teacher_text_features: Float[Tensor, "b e"],
    teacher_logit_scale: Float[Tensor, ""] | float,
) -> Float[Tensor, ""]:
    """Return the cross-entropy of the student's in-batch softmax with the teacher's as target.

    `mean_i -sum_j q_ij log p_ij`, q the teacher's and p the student's softmax of a row, summed (not averaged) over
    image to text and text to image; both use their own scale and no further temperature (Oh et al. 2024, CaRot).
    The gradient is that of KL(teacher || student); the value exceeds it by `teacher_entropy`. The teacher gets no
    gradient. Several processes: as in `contrastive`.

    Args:
        image_features: (b, d) unit-norm rows of the student.
        text_features: (b, d) unit-norm rows, partner by partner.
        logit_scale: multiplies the student's cosines.
        teacher_image_features: (b, e) unit-norm rows of the teacher for the same images.
        teacher_text_features: (b, e) likewise for the texts.
        teacher_logit_scale: multiplies the teacher's cosines.

    Returns:
        () >= 0; equals `teacher_entropy` when student and teacher agree.

    Example:
        >>> self_distillation(torch.eye(2), torch.eye(2), 100.0, -torch.eye(2), torch.eye(2), 100.0)
        tensor(200.)
    """
    student = pair_logits(image_features, text_features, logit_scale)
    with torch.no_grad():
        teacher = pair_logits(teacher_image_features, teacher_text_features, teacher_logit_scale)
    return self_distillation_from_logits(student, teacher)


def self_distillation_from_logits(student: PairLogits, teacher: PairLogits) -> Float[Tensor, ""]:
    """Return `self_distillation` for logits that are already there.

    Example:
        >>> pairs = pair_logits(torch.eye(2), torch.eye(2), 1.0)
        >>> self_distillation_from_logits(pairs, pairs) == teacher_entropy(pairs)
        tensor(True)
    """
    per_image = _cross_entropy(student.logits_per_image, teacher.logits_per_image)
    per_text = _cross_entropy(student.logits_per_text, teacher.logits_per_text)
    return per_image + per_text


def teacher_entropy(teacher: PairLogits) -> Float[Tensor, ""]:
    """Return the least value `self_distillation` can take with this teacher, so that the difference is a divergence.

    Mean over rows of the entropy of the teacher's softmax, summed over both directions; in nats.

    Example:
        >>> teacher_entropy(pair_logits(torch.eye(2), torch.eye(2), 0.0))
        tensor(1.3863)
    """
    return self_distillation_from_logits(teacher, teacher).detach()


def teacher_track(student: PairLogits, teacher: PairLogits) -> dict[str, Tensor]:
    """Return what a log tells about a teacher at one step, without gradient.

    Returns:
        `teacher_kl`: KL(teacher || student), mean over rows, summed over both directions, in nats; 0 where they agree.
        `teacher_entropy`: see `teacher_entropy`.
        `teacher_confidence`: mean over rows and directions of the largest probability the teacher gives.

    Example:
        >>> pairs = pair_logits(torch.eye(2), torch.eye(2), 100.0)
        >>> {name: round(value.item(), 3) for name, value in teacher_track(pairs, pairs).items()}
        {'teacher_kl': 0.0, 'teacher_entropy': 0.0, 'teacher_confidence': 1.0}
    """
    with torch.no_grad():
        entropy = teacher_entropy(teacher)
        both = (teacher.logits_per_image, teacher.logits_per_text)
        confidence = torch.stack([logits.softmax(dim=1).amax(dim=1).mean() for logits in both]).mean()
        divergence = (self_distillation_from_logits(student, teacher) - entropy).clamp(min=0)
        return {"teacher_kl": divergence, "teacher_entropy": entropy, "teacher_confidence": confidence}


def _cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    # functional.cross_entropy goes through log_softmax: at scale 100 the reference's log(softmax) is log(0)
    return functional.cross_entropy(student, teacher.detach().softmax(dim=1).to(student.dtype))
