"""The only training loop: it knows steps, accumulation, precision and files; it knows no method."""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor

from vlm_data.errors import listing
from vlm_data.loading import Batch
from vlm_data.progress import Progress, silent
from vlm_finetune.accumulation import add_micro_batches
from vlm_finetune.averaging import WeightAverage
from vlm_finetune.batches import TrainingBatches
from vlm_finetune.errors import DivergedError, VlmFinetuneError
from vlm_finetune.grad_cache import add_whole_batch
from vlm_finetune.method import Method
from vlm_finetune.optim import adamw
from vlm_finetune.pair_method import PairMethod
from vlm_finetune.recipe import TrainingSettings
from vlm_finetune.resume import Position, ResumePoints
from vlm_finetune.run_log import RunLog
from vlm_finetune.schedule import SCHEDULES

_LOG_EVERY = 10
"""Optimiser steps between two looks at the loss: reading it makes an accelerator wait."""


@dataclasses.dataclass
class Loop:
    """Trains one phase of a method.

    Attributes:
        method: what computes the loss.
        batches: where micro-batches come from.
        settings: of this phase.
        accelerator: places tensors, casts, synchronises processes.
        position: where to start; moved forward while training.
        log: receives one event per optimiser step.
        end_epoch: called after every epoch, on every process, before the resume point is written.
        progress: told about optimiser steps.
        average: running average of what is trained, in place of it while an epoch is judged; None without.
    """

    method: Method
    batches: TrainingBatches
    settings: TrainingSettings
    accelerator: Accelerator
    position: Position
    log: RunLog
    end_epoch: Callable[[Position], None]
    progress: Progress = silent

    def __post_init__(self) -> None:
        self.total_steps = self.settings.epochs * self.batches.steps
        optimizer = adamw(
            self.method, self.settings.lr, self.settings.weight_decay, (self.settings.beta1, self.settings.beta2)
        )
        # The schedule is not prepared: Accelerate would step it once per process.
        self.wrapped, self.optimizer = self.accelerator.prepare(self.method, optimizer)
        moving = {name: p for name, p in self.method.named_parameters() if p.requires_grad}
        self.average = WeightAverage(moving, self.settings.ema) if self.settings.ema else None
        self._pending: list[dict[str, Any]] = []
        self._reached = False

    def train(self, resume: ResumePoints) -> None:
        """Train until the last epoch, leaving a resume point after each.

        Raises:
            DivergedError: if the loss is not finite; the resume point before it stays.
        """
        self.method.train()
        for epoch in range(self.position.epoch, self.settings.epochs):
            first = self.position.step - epoch * self.batches.steps
            stream = self.batches.epoch(epoch, first)
            for _ in range(first, self.batches.steps):
                self._step(stream)
                if self._is_halfway_point():
                    self._check()
                    self._save(resume)
            self._check()
            self.position.epoch = epoch + 1
            with self.average.in_place() if self.average else contextlib.nullcontext():
                self.end_epoch(self.position)
            self.method.train()
            self._save(resume)

    def _save(self, resume: ResumePoints) -> None:
        resume.save()
        self.method.forget()

    def _step(self, stream: Iterator[Batch]) -> None:
        lr = self._set_learning_rate()
        terms = self._add_gradients(stream)
        self._check_reached()
        event: dict[str, Any] = {"lr": lr, **terms}
        if self.settings.clip_norm:
            # Accelerate divides the gradients by the loss scale before it measures them.
            event["grad_norm"] = self.accelerator.clip_grad_norm_(list(self.method.trained()), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if not self.accelerator.optimizer_step_was_skipped:
            event |= self.method.after_step(self.position.updates) or {}
            if self.average:
                self.average.update()
            self.position.updates += 1
        self.position.step += 1
        self._pending.append({"event": "step", "phase": self.position.phase, "step": self.position.step, **event})
        if len(self._pending) >= _LOG_EVERY:
            self._flush()

    def _add_gradients(self, stream: Iterator[Batch]) -> dict[str, Tensor]:
        """Back-propagate the loss of one optimiser step, leaving its gradient in the parameters; return its terms."""
        parts, updates = self.settings.accumulation_steps, self.position.updates
        batches = itertools.islice(stream, parts)
        if isinstance(self.method, PairMethod) and self.settings.negatives == "batch" and parts > 1:
            return add_whole_batch(self.accelerator, self.wrapped, self.method, list(batches), updates)
        return add_micro_batches(self.accelerator, self.wrapped, batches, parts, updates)

    def _check_reached(self) -> None:
        """Raise if the first backward pass left a trained tensor without gradient: it would never move.

        Several processes would even wait for it. DeepSpeed keeps gradients elsewhere.
        """
        if self._reached or self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            return
        self._reached = True
        trained = {name: p for name, p in self.method.named_parameters() if p.requires_grad}
        without = [name for name, parameter in trained.items() if parameter.grad is None]
        if without:
            raise VlmFinetuneError(
                f"{len(without)} of {len(trained)} trained tensors received no gradient at the first step: "
                f"{listing(without)}. Expected the loss to depend on each of them, or they would never move. "
                "Take another --method or model; without --lora-rank, if adapters are among them."
            )

    def _check(self) -> None:
        """Write the log, and stop before weights are judged or kept that the last update has destroyed."""
        self._flush()
        # the loss of a step is taken before its update
        if not all(parameter.isfinite().all() for parameter in self.method.trained()):
            raise diverged("the weights became infinite or NaN", self.position.step, self.settings)

    def _is_halfway_point(self) -> bool:
        """Return whether to save within an epoch; its end has a point of its own, which knows that it was judged."""
        step, every = self.position.step, self.settings.save_every
        return bool(every) and step % every == 0 and step % self.batches.steps != 0

    def _set_learning_rate(self) -> float:
        settings = self.settings
        schedule = SCHEDULES[settings.schedule]
        lr = schedule(
            self.position.updates,
            settings.lr,
            settings.warmup_steps(self.total_steps),
            self.total_steps,
            settings.min_lr,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _flush(self) -> None:
        """Write the steps since the last time to the log; stop at the first one whose loss is not finite."""
        events, self._pending = self._pending, []
        names = [name for name, value in events[0].items() if isinstance(value, Tensor)] if events else []
        if names:  # one transfer for all values; the mean over processes is the value of the global batch
            table = torch.stack([torch.stack([event[name].float() for name in names]) for event in events])
            values = cast(Tensor, self.accelerator.reduce(table, reduction="mean")).tolist()
            for event, row in zip(events, values, strict=True):
                event.update(zip(names, row, strict=True), epoch=event["step"] / self.batches.steps)
        bad = next((event for event in events if not math.isfinite(event["loss"])), None)
        self.log.append(events if bad is None else events[: events.index(bad) + 1])
        if bad is not None:
            raise diverged(f"the loss became {bad['loss']}", bad["step"], self.settings)
        self.progress(
            f"training, step (loss {events[-1]['loss']:.3f})" if events else "training, step",
            self.position.step,
            self.total_steps,
        )


def diverged(found: str, step: int, settings: TrainingSettings) -> DivergedError:
    """Return the error for a training whose numbers are none.

    Args:
        found: what became infinite or NaN.
        step: optimiser step at which it was seen.
        settings: of the phase.
    """
    return DivergedError(
        f"{found} at optimiser step {step}. What resume points and best weights there were before are kept. "
        f"Try a smaller --lr (it was {settings.lr:g}), a longer warm-up, gradient clipping "
        "(--set training.clip_norm=1.0) or --precision fp32, in a new --out."
    )
