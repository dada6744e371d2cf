"""A teacher whose weights follow the student's as an exponential moving average (EMA)."""

import copy
import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vlm_data.errors import unknown_name

COUNTERS = ("before_step", "after_step")


def momentum(update_step: int, total_steps: int, start: float, end: float, warmup_fraction: float) -> float:
    """Return the weight of the old teacher at an update: it rises linearly from `start` to `end`, then stays.

    `start + (end - start) u / (S q)` while u < S q, else `end` (Oh et al. 2024, CaRot: 0.05 to 0.9 over q = 0.2).

    Args:
        update_step: u, optimiser steps as counted by `update_step`.
        total_steps: S, optimiser steps of the whole run.
        start: momentum at u = 0, in [0, 1].
        end: momentum after the warm-up, in [0, 1].
        warmup_fraction: q, share of the run over which the momentum rises; 0 means `end` throughout.

    Example:
        >>> [momentum(u, total_steps=40, start=0.05, end=0.9, warmup_fraction=0.2) for u in (0, 5, 10)]
        [0.05, 0.58125, 0.9]
    """
    warmup_steps = total_steps * warmup_fraction
    return start + (end - start) * update_step / warmup_steps if update_step < warmup_steps else end


def update_step(step: int, total_steps: int, every: int, counter: str) -> int | None:
    """Return the count at which the teacher is updated after optimiser step number `step`, None when it is not.

    Two published programs count differently. `"before_step"` (the original): u = t, updated when t is a multiple of
    `every`, so also after the very first step, and not at the end. `"after_step"` (its gradient-accumulating fork):
    u = t + 1, updated when u is a multiple of `every`, and once more at the end. Count only optimiser steps that
    were taken: not micro-batches, and not steps a loss scaler skipped.

    Args:
        step: t, optimiser steps taken before this one.
        total_steps: optimiser steps of the whole run.
        every: update interval in optimiser steps; 0 or less freezes the teacher.
        counter: `"before_step"` or `"after_step"`.

    Raises:
        CallError: if there is no such counter.

    Example:
        >>> [update_step(t, total_steps=4, every=3, counter="before_step") for t in range(4)]
        [0, None, None, 3]
        >>> [update_step(t, total_steps=4, every=3, counter="after_step") for t in range(4)]
        [None, None, 3, 4]
    """
    if counter not in COUNTERS:
        raise unknown_name("EMA counter", counter, COUNTERS)
    if every <= 0:
        return None
    if counter == "before_step":
        return step if step % every == 0 else None
    count = step + 1
    return count if count % every == 0 or count == total_steps else None


@dataclasses.dataclass(frozen=True)
class MomentumSchedule:
    """When a teacher is updated, and with which momentum.

    Attributes:
        total_steps: optimiser steps of the whole run.
        every: update interval in optimiser steps; 0 or less freezes the teacher.
        start: momentum at the first step, in [0, 1].
        end: momentum after the warm-up, in [0, 1].
        warmup_fraction: share of the run over which the momentum rises.
        counter: `"before_step"` or `"after_step"`, see `update_step`.
    """

    total_steps: int
    every: int
    start: float = 0.05
    end: float = 0.9
    warmup_fraction: float = 0.2
    counter: str = "after_step"

    def after(self, step: int) -> float | None:
        """Return the momentum of the update after optimiser step number `step` (from 0), None when there is none.

        Example:
            >>> schedule = MomentumSchedule(total_steps=40, every=5)
            >>> [schedule.after(step) for step in (0, 4, 9)]
            [None, 0.58125, 0.9]
        """
        count = update_step(step, self.total_steps, self.every, self.counter)
        if count is None:
            return None
        return momentum(count, self.total_steps, self.start, self.end, self.warmup_fraction)


class EmaTeacher:
    """A frozen copy of a model, moved towards the model on request.

    The copy is in evaluation mode and its parameters ask for no gradient. Copy the bare model, before a wrapper
    (DDP) is put around it, and update from the bare model.

    Attributes:
        model: the teacher itself.

    Example:
        >>> student = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.ones_(student.weight)
        >>> teacher = EmaTeacher(student)
        >>> _ = nn.init.zeros_(student.weight)
        >>> teacher.update(student, momentum=0.9)
        >>> teacher.model.weight.item()
        0.9
    """

    def __init__(self, student: nn.Module):
        self.model = copy.deepcopy(student).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """Set every parameter to `momentum * teacher + (1 - momentum) * student`; buffers are copied.

        A logit scale kept as a logarithm is averaged as one.
        """
        for own, new in zip(self.model.parameters(), student.parameters(), strict=True):
            own.lerp_(new, 1 - momentum)
        for own, new in zip(self.model.buffers(), student.buffers(), strict=True):
            own.copy_(new)

    @torch.no_grad()
    def distance(self, student: nn.Module) -> float:
        """Return how far the weights of the student are from those of the teacher, `||s - t|| / ||t||` over all.

        Example:
            >>> student = nn.Linear(1, 1, bias=False)
            >>> _ = nn.init.ones_(student.weight)
            >>> teacher = EmaTeacher(student)
            >>> _ = nn.init.constant_(student.weight, 1.5)
            >>> teacher.distance(student)
            0.5
        """
        pairs = list(zip(student.parameters(), self.model.parameters(), strict=True))
        apart = torch.stack([(new.float() - own.float()).square().sum() for new, own in pairs]).sum()
        size = torch.stack([own.float().square().sum() for _, own in pairs]).sum()
        return float((apart / size).sqrt())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the teacher's weights, for resuming."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state)
