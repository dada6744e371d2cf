"""Whether the tensors of two models fit together, and the precision in which they are summed."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vlm_models.errors import CheckpointError

State = Mapping[str, Tensor]


def widened(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor in the precision that sums with `like` are made in: single at least.

    Example:
        >>> widened(torch.ones(1, dtype=torch.float16), torch.ones(1)).dtype
        torch.float32
    """
    return tensor.to(torch.promote_types(like.dtype, torch.float32))


def check_compatible(a: State, b: State) -> None:
    """Raise unless two state dicts have the same keys and shapes; the message lists what differs.

    Raises:
        CheckpointError: names up to five keys of each kind of difference.
    """
    problems = differences(a, b)
    if problems:
        raise CheckpointError(
            f"the two models cannot be combined: {'; '.join(problems)}. "
            "Expected two checkpoints of one architecture and one head; check that both come from the same base model."
        )


def differences(expected: State, found: State) -> list[str]:
    """Describe how the keys and shapes of `found` differ from `expected`; empty when they agree.

    Example:
        >>> differences({"w": torch.zeros(2)}, {"w": torch.zeros(3), "v": torch.zeros(1)})
        ['1 unexpected: v', '1 misshapen: w has shape (3,), expected (2,)']
    """
    shapes = [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    kinds = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "misshapen": shapes,
    }
    return [f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names]


def _some(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
