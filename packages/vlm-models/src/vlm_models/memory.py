"""How much memory is left, and a refusal in time: a process that takes too much is killed without a word."""

import contextlib
from pathlib import Path

from vlm_models.errors import CheckpointError

_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),  # control groups, version 2
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),  # version 1
)
"""Limit, use, and the entry of `memory.stat` that tells how much of the use is cache the system gives back."""


def available_memory(meminfo: Path = Path("/proc/meminfo"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return how many bytes can be taken before the system runs out, None where it does not tell.

    The smaller one of what the machine has left and of what the control group of a container leaves.

    Args:
        meminfo: the file in which Linux tells about the machine.
        groups: the folder in which it tells about the container.

    Example:
        >>> available_memory(Path("/nowhere"), Path("/nowhere")) is None
        True
    """
    found = [_machine(meminfo), *(_group(groups, *names) for names in _GROUP_FILES)]
    return min((one for one in found if one is not None), default=None)


def _machine(meminfo: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _group(folder: Path, limit: str, used: str, cache: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):  # no such group, or the word "max" in place of a number
        left = int((folder / limit).read_text()) - int((folder / used).read_text())
        statistics = (folder / limit).with_name("memory.stat").read_text().splitlines()
        return left + sum(int(line.split()[1]) for line in statistics if line.startswith(f"{cache} "))
    return None


def require_memory(needed: int, purpose: str, available: int | None = None) -> None:
    """Raise unless so much memory is left.

    Args:
        needed: bytes.
        purpose: what they are for; the message begins with it, for example `"reading model.pt as a whole"`.
        available: bytes to compare with; what the system tells if None.

    Raises:
        CheckpointError: tells both numbers.

    Example:
        >>> require_memory(10**9, "reading model.pt", available=10**8)
        Traceback (most recent call last):
        vlm_models.errors.CheckpointError: reading model.pt takes 1.0 GB of memory, but only 0.1 GB are free. ...
    """
    left = available_memory() if available is None else available
    if left is not None and needed > left:
        raise CheckpointError(
            f"{purpose} takes {_gigabytes(needed)} of memory, but only {_gigabytes(left)} are free. "
            "Expected room for all of it; end other programs or take a machine with more memory."
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.3g} MB"
