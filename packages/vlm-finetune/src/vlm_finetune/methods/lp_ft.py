"""LP-FT: a linear probe, then full fine-tuning from its head (Kumar et al. 2022)."""

import dataclasses

from vlm_finetune.method import Phase
from vlm_finetune.methods import full, linear_probe
from vlm_finetune.recipe import TrainingSettings
from vlm_finetune.settings import within


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `lp-ft`; the table `[training]` holds those of the second phase.

    Attributes:
        probe_epochs: epochs of the linear probe.
        probe_lr: its peak learning rate.
        probe_weight_decay: its weight decay.
        label_smoothing: of both phases.
    """

    probe_epochs: int = within(5, 0)
    probe_lr: float = within(1e-2, 0, closed="(]")
    probe_weight_decay: float = within(0.0, 0)
    label_smoothing: float = within(0.0, 0, 1)


def phases(config: Config, training: TrainingSettings) -> list[Phase]:
    """Return the probe and the fine-tuning."""
    probe = dataclasses.replace(
        training, epochs=config.probe_epochs, lr=config.probe_lr, weight_decay=config.probe_weight_decay
    )
    return [
        Phase("linear-probe", linear_probe.Config(config.label_smoothing), probe),
        Phase("full", full.Config(config.label_smoothing), training),
    ]
