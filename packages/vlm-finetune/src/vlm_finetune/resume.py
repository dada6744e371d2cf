"""Exact resume points: everything a training needs to go on as if it had never stopped."""

import dataclasses
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError
from torch import nn

from vlm_finetune.averaging import WeightAverage
from vlm_finetune.errors import VlmFinetuneError

_NAME = re.compile(r"phase-(\d+)-step-(\d+)$")


@dataclasses.dataclass
class Position:
    """How far a phase has come.

    Attributes:
        phase: which phase of the method.
        epoch: epochs completed.
        step: batches consumed in this phase, in units of optimiser steps.
        updates: optimiser steps that really happened (fp16 skips a step whose gradient overflows).
        best_epoch: epoch with the best validation score so far, 1-based; 0 = none yet.
        best_accuracy: its validation accuracy.
        best_nll: its validation negative log-likelihood.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    updates: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_nll: float = float("inf")

    def state_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return dataclasses.asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the fields."""
        for name, value in state.items():
            setattr(self, name, value)


class ResumePoints:
    """Writes and reads the resume points of one phase below `folder`.

    A point is written under a temporary name and renamed, and the one before it is removed only then. It holds the
    whole state of method, optimiser, scaler, random generators, position and what `further` names, such as a teacher;
    it serves this machine only and is not meant to be shared.
    """

    def __init__(
        self,
        folder: Path,
        accelerator: Accelerator,
        position: Position,
        further: Iterable[nn.Module | WeightAverage],
    ) -> None:
        self.folder = folder
        self.accelerator = accelerator
        accelerator.register_for_checkpointing(position, *further)
        self.position = position

    def save(self) -> None:
        """Write a point for the current position."""
        name = f"phase-{self.position.phase}-step-{self.position.step:08d}"
        temporary = self.folder / f".{name}"
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            self.accelerator.save_state(str(temporary))
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors report a full disk their way
            raise VlmFinetuneError(
                f"cannot write a resume point below {self.folder}: {' '.join(str(error).split())[:200]}. "
                "The one before it is whole. Free some space and give the same command again."
            ) from error
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            os.replace(temporary, self.folder / name)
            for old in self.folder.iterdir():
                if _NAME.search(old.name) and old.name != name:
                    shutil.rmtree(old, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def load(self) -> bool:
        """Go to the newest point of this phase; return whether there is one.

        Raises:
            VlmFinetuneError: if it is damaged.
        """
        point = newest_point(self.folder)
        if point is None or point[0] != self.position.phase:
            return False
        try:
            self.accelerator.load_state(str(point[2]))
        except Exception as error:  # damaged bytes make torch, pickle and safetensors raise nearly anything
            raise VlmFinetuneError(
                f"cannot read the resume point {point[2]}: {' '.join(str(error).split())[:200]}. "
                f"Expected the files of one save. Remove {self.folder} to train from the beginning."
            ) from error
        return True


def newest_point(folder: Path) -> tuple[int, int, Path] | None:
    """Return (phase, step, directory) of the newest complete resume point below `folder`, or None."""
    points = [
        (int(match[1]), int(match[2]), path)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if not path.name.startswith(".") and (match := _NAME.match(path.name))
    ]
    return max(points, default=None)
