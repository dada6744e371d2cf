"""Arithmetic on state dicts: interpolation, Fisher-weighted merging, uniform soups.

`alpha` is always the weight of the fine-tuned model: 0 is zero-shot, 1 is fine-tuned.
Buffers that are not floating point (counters, index tables) cannot be mixed and are taken from the last model.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from vlm_models.errors import CheckpointError

State = Mapping[str, Tensor]


def interpolate(a: State, b: State, alpha: float) -> dict[str, Tensor]:
    """Return `(1 - alpha) a + alpha b` for every floating-point tensor (WiSE-FT, Wortsman et al. 2022, eq. 1).

    Computed in float32 at least and returned in the type of `b`. Alpha 0 and 1 return the end points exactly.

    Args:
        a: zero-shot weights.
        b: fine-tuned weights with the same keys and shapes.
        alpha: weight of b; any number, usually in [0, 1].

    Raises:
        CheckpointError: if keys or shapes differ; lists them.

    Example:
        >>> interpolate({"w": torch.tensor([0.0])}, {"w": torch.tensor([10.0])}, 0.3)
        {'w': tensor([3.])}
    """
    check_compatible(a, b)
    return {name: _mix(a[name], b[name], alpha) for name in b}


def _mix(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    if not b.is_floating_point():
        return b.clone()
    if b.dtype in (torch.float16, torch.bfloat16):
        return torch.lerp(a.float(), b.float(), alpha).to(b.dtype)
    return torch.lerp(a.to(b.dtype), b, alpha)


def fisher_merge(
    a: State, b: State, alpha: float, fisher_a: State, fisher_b: State, floor: float = 1e-8
) -> dict[str, Tensor]:
    """Return the mean of two models weighted by their diagonal Fisher information, element by element.

    `((1 - alpha) f_a a + alpha f_b b) / ((1 - alpha) f_a + alpha f_b)` with `f = max(F, floor)` (Matena and Raffel
    2022). A tensor without Fisher information in both files is interpolated plainly.

    Raises:
        CheckpointError: if keys or shapes differ, or a tensor has Fisher information in one file only.

    Example:
        >>> w0, w1, f = {"w": torch.zeros(1)}, {"w": torch.ones(1)}, {"w": torch.ones(1)}
        >>> fisher_merge(w0, w1, 0.5, f, {"w": 3 * torch.ones(1)})
        {'w': tensor([0.7500])}
    """
    check_compatible(a, b)
    lonely = sorted((fisher_a.keys() ^ fisher_b.keys()) & b.keys())
    if lonely:
        raise CheckpointError(
            f"Fisher information of {', '.join(lonely)} is in one file only; expected it in both or in neither. "
            "Estimate both with the same set of trained parameters."
        )
    merged = {}
    for name, tensor in b.items():
        if name not in fisher_b or not tensor.is_floating_point():
            merged[name] = _mix(a[name], tensor, alpha)
            continue
        weight_a = (1 - alpha) * fisher_a[name].clamp_min(floor)
        weight_b = alpha * fisher_b[name].clamp_min(floor)
        merged[name] = (weight_a * a[name] + weight_b * tensor) / (weight_a + weight_b)
    return merged


def uniform_soup(states: Iterable[State]) -> dict[str, Tensor]:
    """Return the mean of several models of one architecture (Wortsman et al. 2022, "Model soups").

    The models are read one after the other, so an iterator over files needs the memory of two.

    Raises:
        CheckpointError: if there is none, or keys or shapes differ.

    Example:
        >>> uniform_soup([{"w": torch.zeros(1)}, {"w": torch.ones(1)}])
        {'w': tensor([0.5000])}
    """
    total: dict[str, Tensor] = {}
    count = 0
    for count, state in enumerate(states, start=1):
        if count == 1:
            total = {name: tensor.clone() for name, tensor in state.items()}
            continue
        check_compatible(total, state)
        for name, tensor in state.items():
            total[name] = total[name] + tensor if tensor.is_floating_point() else tensor.clone()
    if not count:
        raise CheckpointError("a soup needs at least one model; none was given.")
    return {name: tensor / count if tensor.is_floating_point() else tensor for name, tensor in total.items()}


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
