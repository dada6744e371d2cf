"""Where a program runs: on which device, and with how many processes."""

import contextlib
import os
from collections.abc import Iterator

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from torch import distributed

from vlm_data.errors import CallError

_ONE_GPU = "ACCELERATE_TORCH_DEVICE"
"""Accelerate's own way to name one of several GPUs: an environment variable that it reads when it starts."""


@contextlib.contextmanager
def processes(device: str | None = None) -> Iterator[PartialState]:
    """Join the processes a launcher started (or run alone) and choose the device; leave the group at the end.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, `mps`; the first GPU of this process if there is one by default.

    Raises:
        CallError: if there is no such device.

    Example:
        >>> with processes("cpu") as state:
        ...     state.num_processes, state.device.type
        (1, 'cpu')
    """
    if not _in_group():
        PartialState._reset_state()  # what ran before in this process may have used another device
    state = process_state(device)
    try:
        yield state
        if _in_group():
            distributed.barrier()  # not after an error: the other processes are waiting somewhere else
    finally:
        if _in_group():
            distributed.destroy_process_group()
        PartialState._reset_state()


def process_state(device: str | None = None) -> PartialState:
    """Return what Accelerate knows about the processes of this program; the first call decides on their device.

    Without a GPU it has to be told so: it would start a process group and then take every process for the only one.

    Raises:
        CallError: if there is no such device.
    """
    cpu, before = _is_cpu(device), os.environ.get(_ONE_GPU)
    try:
        if device is not None and torch.device(device).index is not None:
            os.environ[_ONE_GPU] = device
        return PartialState(cpu=cpu)
    finally:
        os.environ.pop(_ONE_GPU, None)
        os.environ |= {_ONE_GPU: before} if before is not None else {}


def _in_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def check_precision(precision: str) -> None:
    """Raise unless this machine can train in a precision.

    Raises:
        CallError: for fp16 on a CPU.
    """
    device = str(process_state().device)
    if precision == "fp16" and device == "cpu":
        raise CallError(
            f"precision fp16 needs a GPU: its loss scaling does not exist on the {device} used here. "
            "Use --precision bf16 or fp32."
        )


def accelerator(precision: str = "fp32") -> Accelerator:
    """Return an accelerator on the processes and the device of `processes`.

    Raises:
        CallError: if the precision does not exist on this machine.
    """
    check_precision(precision)
    process_state()
    AcceleratorState._reset_state()  # keeps the process group; a second training may use another precision
    return Accelerator(mixed_precision="no" if precision == "fp32" else precision, step_scheduler_with_optimizer=False)


def _is_cpu(device: str | None) -> bool:
    if device is None:
        return not torch.accelerator.is_available()
    try:
        kind = torch.device(device)
    except RuntimeError as error:
        raise CallError(f"{device!r} is no device. Expected cpu, cuda, cuda:1 or mps.") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind.type, False):
        raise CallError(f"this machine offers no {device!r} to PyTorch. Expected cpu here; see `vlm doctor`.")
    return kind.type == "cpu"
