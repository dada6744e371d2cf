"""CaRot: contrastive fine-tuning with an orthogonal projection and a slowly moving teacher (Oh et al. 2024)."""

import dataclasses

from jaxtyping import Int64
from torch import Tensor

from vlm_finetune.ema import COUNTERS, MomentumSchedule
from vlm_finetune.losses import (
    TARGETS,
    PairLogits,
    contrastive_towards,
    cross_norm,
    orthogonality,
    self_distillation_from_logits,
)
from vlm_finetune.losses.self_distillation import teacher_track
from vlm_finetune.losses.targets import check_smoothing
from vlm_finetune.pair_method import PairMethod
from vlm_finetune.settings import one_of, within
from vlm_models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `carot`; the defaults are the published ones for ImageNet.

    Attributes:
        label_smoothing: of the contrastive term, in [0, 1].
        targets: of the contrastive term, as in `flyp`.
        orthogonality: coefficient of `||W_v^T W_v - I||_F`.
        cross_norm: coefficient of `||W_v W_t^T||_F`.
        distillation: coefficient of the distillation from the teacher.
        teacher_every: optimiser steps between two updates of the teacher; 0 = it stays the zero-shot model.
        teacher_start: momentum of the first update.
        teacher_end: momentum after the warm-up.
        teacher_warmup: share of the run over which the momentum rises.
        teacher_counter: `before_step` updates after steps 1, 1 + every, ...; `after_step` after every, 2 every, ...
    """

    label_smoothing: float = within(0.0, 0, 1)
    targets: str = one_of("identity", TARGETS)
    orthogonality: float = within(0.2, 0)
    cross_norm: float = within(0.05, 0)
    distillation: float = within(1.5, 0)
    teacher_every: int = within(500, 0)
    teacher_start: float = within(0.05, 0, 1)
    teacher_end: float = within(0.9, 0, 1)
    teacher_warmup: float = within(0.2, 0, 1)
    teacher_counter: str = one_of("before_step", COUNTERS)

    def __post_init__(self) -> None:
        check_smoothing(self.targets, self.label_smoothing)


class Carot(PairMethod):
    """`contrastive + c_O orthogonality + c_F cross_norm + c_S self_distillation`; both towers and the scale move.

    The distillation is left out at the very first step, where teacher and student are equal.
    """

    beside_adapters = ("logit", "vision projection", "text projection")  # two of its terms are functions of these maps

    def __init__(self, model: Classifier, config: Config, total_steps: int) -> None:
        super().__init__(model, has_teacher=config.distillation > 0)
        self.config = config
        self.needs_labels = config.targets != "identity"
        model.encoder.projections()  # an architecture without them is refused before anything is trained
        self.momentum = MomentumSchedule(
            total_steps,
            config.teacher_every,
            config.teacher_start,
            config.teacher_end,
            config.teacher_warmup,
            config.teacher_counter,
        )

    def objective(
        self, student: PairLogits, teacher: PairLogits | None, labels: Int64[Tensor, " b"]
    ) -> dict[str, Tensor]:
        """Return the objective and its terms, before their coefficients."""
        config = self.config
        visual, text = self.model.encoder.projections()
        nothing = student.logits_per_image.new_zeros(())
        terms = {
            "contrastive": contrastive_towards(student, config.targets, labels, label_smoothing=config.label_smoothing),
            "orthogonality": orthogonality(visual),
            "cross_norm": cross_norm(visual, text),
            "distillation": self_distillation_from_logits(student, teacher) if teacher else nothing,
        }
        loss = (
            terms["contrastive"]
            + config.orthogonality * terms["orthogonality"]
            + config.cross_norm * terms["cross_norm"]
            + config.distillation * terms["distillation"]
        )
        if teacher:
            terms |= teacher_track(student, teacher)
        elif self.teacher:  # the first step, whose event has the same keys
            terms |= dict.fromkeys(("teacher_kl", "teacher_entropy", "teacher_confidence"), nothing)
        return {"loss": loss, **terms}

    def after_step(self, step: int) -> dict[str, float]:
        """Move the teacher towards the student when its time has come."""
        momentum = self.momentum.after(step)
        return {} if momentum is None else self.move_teacher(momentum)


def build(model: Classifier, config: Config, total_steps: int) -> Carot:
    """Return the method on a model."""
    return Carot(model, config, total_steps)
