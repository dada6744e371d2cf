"""Distillation of a classifier from the class probabilities of another."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlm_finetune.losses.precision import widen


def output_distillation(
    logits: Float[Tensor, "b c"], teacher_logits: Float[Tensor, "b c"], *, temperature: float = 1.0
) -> Float[Tensor, ""]:
    """Return how far the class probabilities are from the teacher's, averaged over the batch.

    `T^2 mean_i KL(softmax(t_i / T) || softmax(z_i / T))`; the factor keeps the size of the gradient when T changes
    (Hinton et al. 2015, section 2). Computed in float32 at least; the teacher gets no gradient.

    Args:
        logits: z, (b, c) of the student.
        teacher_logits: t, (b, c) of the teacher for the same images.
        temperature: T > 0, of both.

    Returns:
        () >= 0 in nats; 0 where both agree.

    Example:
        >>> import torch
        >>> output_distillation(torch.zeros(1, 2), torch.tensor([[1.0986, 0.0]]))
        tensor(0.1308)
    """
    student, teacher = widen(logits, teacher_logits.detach())
    divergence = functional.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence
