"""The gradient of one optimiser step from several micro-batches."""

import contextlib
from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vlm_data.loading import Batch


def add_micro_batches(
    accelerator: Accelerator, wrapped: nn.Module, batches: Iterable[Batch], parts: int, step: int
) -> dict[str, Tensor]:
    """Add the gradient of the mean loss over micro-batches to that of the parameters; return the mean of its terms.

    It is the gradient of the whole batch if the loss of a batch is a mean over its samples. A loss that compares
    samples with each other, such as a contrastive one, sees those of the same micro-batch only; for the gradient of
    the whole batch see `vlm_finetune.grad_cache`.

    Args:
        accelerator: scales the loss and synchronises processes.
        wrapped: the method as the accelerator prepared it.
        batches: the micro-batches of this process, one after another.
        parts: how many there are.
        step: optimiser steps done so far.
    """
    terms: dict[str, Tensor] = {}
    for part, batch in enumerate(batches):
        with synchronised(accelerator, wrapped, last=part == parts - 1):
            found = wrapped(batch.to(accelerator.device), step)
            accelerator.backward(found["loss"] / parts)
        for name, value in found.items():
            terms[name] = terms.get(name, 0) + value.detach() / parts
    return terms


def synchronised(accelerator: Accelerator, wrapped: nn.Module, last: bool) -> contextlib.AbstractContextManager[object]:
    """Return a context in which a wrapper exchanges gradients between processes only with the last micro-batch."""
    return torch.enable_grad() if last else accelerator.no_sync(wrapped)
