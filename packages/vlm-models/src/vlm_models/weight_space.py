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
    return torch.lerp(_wide(a, b), _wide(b, b), alpha).to(b.dtype)


def _wide(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor in the precision that sums with `like` are made in: single at least."""
    return tensor.to(torch.promote_types(like.dtype, torch.float32))


def fisher_merge(
    a: State, b: State, alpha: float, fisher_a: State, fisher_b: State, floor: float = 1e-8
) -> dict[str, Tensor]:
    """Return the mean of two models weighted by their diagonal Fisher information, element by element.

    `((1 - alpha) f_a a + alpha f_b b) / ((1 - alpha) f_a + alpha f_b)` with `f = max(F, floor)` (Matena and Raffel
    2022). A tensor without Fisher information in both files is interpolated plainly, and so are elements of which
    neither model knows anything (possible with `floor=0` only). Computed in float32 at least and returned in the type
    of `b`. Alpha 0 and 1 return the end points exactly.

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
    informed = {name: tensor for name, tensor in b.items() if name in fisher_b and tensor.is_floating_point()}
    for fisher in (fisher_a, fisher_b):
        problems = differences(informed, {name: fisher[name] for name in informed})
        if problems:
            raise CheckpointError(
                f"Fisher information does not fit the models: {'; '.join(problems)}. "
                "Expected one value per weight; estimate it with this architecture."
            )
    merged = {name: _mix(a[name], tensor, alpha) for name, tensor in b.items() if name not in informed}
    for name, tensor in informed.items():
        weight_a = (1 - alpha) * _wide(fisher_a[name], tensor).clamp_min(floor)
        weight_b = alpha * _wide(fisher_b[name], tensor).clamp_min(floor)
        total = weight_a + weight_b
        share = torch.where(total > 0, weight_b / total, alpha)
        merged[name] = torch.lerp(_wide(a[name], tensor), _wide(tensor, tensor), share).to(tensor.dtype)
    return {name: merged[name] for name in b}


def uniform_soup(states: Iterable[State]) -> dict[str, Tensor]:
    """Return the mean of several models of one architecture (Wortsman et al. 2022, "Model soups").

    The models are read one after the other, so an iterator over files needs the memory of two. Summed in float32 at
    least and returned in the type of the first model.

    Raises:
        CheckpointError: if there is none, or keys or shapes differ.

    Example:
        >>> uniform_soup([{"w": torch.zeros(1)}, {"w": torch.ones(1)}])
        {'w': tensor([0.5000])}
    """
    total: dict[str, Tensor] = {}
    types: dict[str, torch.dtype] = {}
    count = 0
    for count, state in enumerate(states, start=1):
        if count == 1:
            types = {name: tensor.dtype for name, tensor in state.items()}
            total = {name: _wide(tensor, tensor) for name, tensor in state.items() if tensor.is_floating_point()}
        else:
            check_compatible(total, state)
            for name, tensor in state.items():
                if tensor.is_floating_point():
                    total[name] = total[name] + tensor
        total |= {name: tensor for name, tensor in state.items() if not tensor.is_floating_point()}
    if not count:
        raise CheckpointError("a soup needs at least one model; none was given.")
    return {
        name: (tensor / count).to(types[name]) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in total.items()
    }


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
