"""CaRot: contrastive fine-tuning with an orthogonal projection and a slowly moving teacher (Oh et al. 2024)."""

import dataclasses
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from vlm_data.loading import Batch
from vlm_finetune.ema import COUNTERS, EmaTeacher, MomentumSchedule
from vlm_finetune.losses import (
    TARGETS,
    PairLogits,
    contrastive_towards,
    cross_norm,
    orthogonality,
    pair_logits,
    self_distillation_from_logits,
)
from vlm_finetune.losses.targets import check_smoothing
from vlm_finetune.method import Method
from vlm_finetune.pairs import PairEncoder, with_rebuilt_head
from vlm_finetune.settings import one_of, within
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder


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


class Carot(Method):
    """`contrastive + c_O orthogonality + c_F cross_norm + c_S self_distillation`; both towers and the scale move.

    The distillation is left out at the very first step, where teacher and student are equal.
    """

    needs_captions = True
    beside_adapters = ("logit", "vision projection", "text projection")  # two of its terms are functions of these maps

    def __init__(self, model: Classifier, config: Config, total_steps: int) -> None:
        super().__init__(model)
        self.config = config
        self.needs_labels = config.targets != "identity"
        self.encode = PairEncoder()
        self.release_towers()
        model.encoder.projections()  # an architecture without them is refused before anything is trained
        self.momentum = MomentumSchedule(
            total_steps,
            config.teacher_every,
            config.teacher_start,
            config.teacher_end,
            config.teacher_warmup,
            config.teacher_counter,
        )
        # In a tuple, so that it is no sub-module: a wrapper must neither synchronise nor train it.
        self._teacher = (EmaTeacher(model.encoder),) if config.distillation else ()

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the objective and its terms, before their coefficients."""
        config = self.config
        student = pair_logits(*self.encode(self.model.encoder, batch))
        visual, text = self.model.encoder.projections()
        terms = {
            "contrastive": contrastive_towards(
                student, config.targets, batch.labels, label_smoothing=config.label_smoothing
            ),
            "orthogonality": orthogonality(visual),
            "cross_norm": cross_norm(visual, text),
            "distillation": self._distillation(student, batch, step),
        }
        loss = (
            terms["contrastive"]
            + config.orthogonality * terms["orthogonality"]
            + config.cross_norm * terms["cross_norm"]
            + config.distillation * terms["distillation"]
        )
        return {"loss": loss, **terms}

    def _distillation(self, student: PairLogits, batch: Batch, step: int) -> Tensor:
        if step == 0 or not self._teacher:
            return student.logits_per_image.new_zeros(())
        with torch.no_grad():
            teacher = pair_logits(*self.encode(cast(DualEncoder, self._teacher[0].model), batch))
        return self_distillation_from_logits(student, teacher)

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student when its time has come."""
        momentum = self.momentum.after(step)
        if self._teacher and momentum is not None:
            self._teacher[0].update(self.plain_model().encoder, momentum)

    def classifier(self) -> Classifier:
        """Return the model with the zero-shot head of its text tower now."""
        return with_rebuilt_head(self.plain_model())

    def companions(self) -> Mapping[str, nn.Module]:
        """Return the teacher."""
        return {"teacher": self._teacher[0].model} if self._teacher else {}


def build(model: Classifier, config: Config, total_steps: int) -> Carot:
    """Return the method on a model."""
    return Carot(model, config, total_steps)
