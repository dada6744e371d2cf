"""Full fine-tuning held back by the distance from the start: L2-SP (Li et al. 2018)."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from vlm_data.loading import Batch
from vlm_finetune.losses.precision import full_precision
from vlm_finetune.methods import full
from vlm_finetune.settings import within
from vlm_models.adapters import increments
from vlm_models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `l2-to-start`.

    Attributes:
        label_smoothing: of the cross-entropy, in [0, 1].
        coefficient: of `||theta - theta_0||^2` over the trained tensors of the encoder; the head is free.
    """

    label_smoothing: float = within(0.0, 0, 1)
    coefficient: float = within(0.01, 0)


class L2ToStart(full.FullFineTuning):
    """`CE + c ||theta - theta_0||^2`; image tower and head move, theta is the image tower.

    The penalty is part of the loss and goes through Adam, unlike the decoupled weight decay, which pulls towards zero.
    """

    def __init__(self, model: Classifier, config: Config) -> None:
        super().__init__(model, full.Config(config.label_smoothing))
        self.coefficient = config.coefficient
        moving = ((name, p) for name, p in model.encoder.named_parameters() if p.requires_grad)
        self._start = {name: parameter.detach().clone() for name, parameter in moving}

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the objective and its terms, before the coefficient."""
        cross_entropy = super().forward(batch, step)["loss"]
        distance = self.squared_distance()
        loss = cross_entropy + self.coefficient * distance
        return {"loss": loss, "cross_entropy": cross_entropy, "squared_distance": distance}

    def squared_distance(self) -> Float[Tensor, ""]:
        """Return `||theta - theta_0||^2`; where adapters stand in for the tower, that of the weights they make."""
        encoder = self.model.encoder
        moved = [
            parameter - self._start[name]
            for name, parameter in encoder.named_parameters()
            if parameter.requires_grad and name in self._start
        ]
        if self.adapted:
            with full_precision(self.model.head.weight):
                moved += increments(encoder)
        return torch.stack([move.square().sum() for move in moved]).sum()


def build(model: Classifier, config: Config, total_steps: int) -> L2ToStart:
    """Return the method on a model."""
    return L2ToStart(model, config)
