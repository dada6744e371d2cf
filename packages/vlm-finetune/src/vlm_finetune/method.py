"""What a fine-tuning method is to the loop: a module whose forward pass is the loss."""

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from vlm_data.loading import Batch
from vlm_data.region_batches import RegionSource
from vlm_finetune.recipe import TrainingSettings
from vlm_models.adapters import merged
from vlm_models.capabilities import require
from vlm_models.classifier import LINEAR, Classifier
from vlm_models.interface import freeze


@dataclasses.dataclass(frozen=True)
class Phase:
    """One training of a run; most methods have one.

    Attributes:
        method: name of the method to run.
        settings: its `Config`.
        training: settings of the loop for this phase.
    """

    method: str
    settings: Any
    training: TrainingSettings


class Method(nn.Module, ABC):
    """Losses and the tensors that move; knows nothing of batches, processes and files.

    The loop wraps the module for its processes and calls it with a batch, so everything that needs a gradient
    happens in `forward`, and each process returns the loss of its own rows: their mean over processes is the loss of
    the global batch.

    Attributes:
        model: the classifier that is fine-tuned, text tower included.
        needs_captions: whether a batch must carry texts.
        needs_labels: whether a batch must carry class labels.
        balances_groups: whether images are drawn so that every group of class and spurious feature is seen as often.
        frozen_encoder: whether the image tower never changes; the loop then feeds cached features.
        beside_adapters: parts of the encoder that are trained as they are where low-rank adapters stand in for the
            rest, names of `vlm_models.interface.PARAMETER_GROUPS`.
        seed: of whatever the method draws itself; the run sets it to `training.seed`.
        adapted: names of the modules of the encoder that have adapters, see `vlm_finetune.lora`.

    Raises:
        CapabilityError: if it needs captions, and the model encodes no text.
    """

    needs_captions = False
    needs_labels = True
    balances_groups = False
    frozen_encoder = False
    beside_adapters: tuple[str, ...] = ("logit",)

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        if self.needs_captions and "text" not in model.encoder.capabilities:
            raise require(model.encoder, "text")
        freeze(model.parameters())
        self.model = model
        self.seed = 0
        self.adapted: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the loss under `loss` and, for the log, its terms under their names; all are scalars.

        Args:
            batch: rows of this process, on the device.
            step: optimiser steps done so far.
        """

    def meet(self, regions: RegionSource) -> None:
        """Learn what is known about regions of all training images, before anything is trained; by default nothing."""

    def after_step(self, step: int) -> Mapping[str, float] | None:
        """React to the optimiser step number `step` (0-based), for example by updating a teacher.

        Returns:
            Facts for the event of this step in the log.
        """

    def forget(self) -> None:
        """Forget what was only remembered to save time; the loop calls it wherever a run may be resumed.

        A resumed run remembers nothing and has to compute the same bits as one that was not interrupted.
        """

    def classifier(self) -> Classifier:
        """Return the model as it is evaluated and saved now, without adapters."""
        return self.plain_model()

    def plain_model(self) -> Classifier:
        """Return the model itself; if it has adapters, a copy with their increments added to its weights."""
        model = self.model
        if not self.adapted:
            return model
        head = copy.deepcopy(model.head)
        return Classifier(merged(model.encoder), head, model.head_kind, model.class_names, model.templates)

    def companions(self) -> Mapping[str, nn.Module]:
        """Return further models that belong to the run and to its resume state, such as `teacher`."""
        return {}

    def trained(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that move."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def release(self, *modules: nn.Module) -> None:
        """Let the parameters of these modules be trained, all but those that no feature depends on.

        DDP waits for the gradient of every parameter that asks for one.
        """
        for module in modules:
            for parameter in module.parameters():
                parameter.requires_grad_(True)
        freeze(self.model.encoder.idle_parameters())

    def release_towers(self) -> None:
        """Let both towers and the logit scale be trained."""
        self.release(self.model.encoder)

    def train_head(self) -> None:
        """Let the head be trained; it is no longer a function of the text tower."""
        self.release(self.model.head)
        self.model.head_kind = LINEAR
