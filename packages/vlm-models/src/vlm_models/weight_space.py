"""Arithmetic on state dicts: interpolation, whole or layer by layer, and Fisher-weighted merging; soups by name.

`alpha` is always the weight of the fine-tuned model: 0 is zero-shot, 1 is fine-tuned.
Buffers that are not floating point (counters, index tables) cannot be mixed and are taken from the last model.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from vlm_data.errors import CallError, listing, unknown_name
from vlm_models.errors import CheckpointError
from vlm_models.soups import greedy_soup as greedy_soup
from vlm_models.soups import uniform_soup as uniform_soup
from vlm_models.state_comparison import State as State
from vlm_models.state_comparison import check_compatible as check_compatible
from vlm_models.state_comparison import differences as differences
from vlm_models.state_comparison import widened


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
    return torch.lerp(widened(a, b), widened(b, b), alpha).to(b.dtype)


def interpolate_layers(a: State, b: State, alphas: Mapping[str, float], default: float) -> dict[str, Tensor]:
    """Return `(1 - alpha) a + alpha b` with an alpha for every part of the model.

    A part is named by the beginning of its tensors' names, up to a dot: `visual.blocks.1` is neither
    `visual.blocks.10` nor `visual.blocks.11`. Where several parts hold a tensor, the longest name counts.

    Args:
        a: zero-shot weights.
        b: fine-tuned weights with the same keys and shapes.
        alphas: weight of b by part.
        default: weight of b everywhere else.

    Raises:
        CheckpointError: if keys or shapes differ; lists them.
        CallError: if no tensor belongs to a part.

    Example:
        >>> a = {"block.1.w": torch.zeros(1), "block.10.w": torch.zeros(1), "head": torch.zeros(1)}
        >>> b = {name: torch.ones(1) for name in a}
        >>> interpolate_layers(a, b, {"block": 0.5, "block.1": 0.25}, 1.0)
        {'block.1.w': tensor([0.2500]), 'block.10.w': tensor([0.5000]), 'head': tensor([1.])}
    """
    check_compatible(a, b)
    check_parts(b, alphas)
    return {name: _mix(a[name], b[name], layer_alpha(name, alphas, default)) for name in b}


def check_parts(names: Iterable[str], alphas: Mapping[str, float]) -> None:
    """Raise unless every part that has an alpha of its own holds a tensor, see `interpolate_layers`.

    Raises:
        CallError: for a part that holds none; the nearest is offered.
    """
    known = {part for name in names for part in _parts(name)}
    for part in alphas:
        if part not in known:
            raise unknown_name("part of the model", part, known)


def layer_alpha(name: str, alphas: Mapping[str, float], default: float) -> float:
    """Return the alpha of a tensor: that of the longest named part that holds it, else `default`.

    Example:
        >>> layer_alpha("block.1.w", {"block": 0.5, "block.1": 0.25}, 1.0), layer_alpha("head", {"block": 0.5}, 1.0)
        (0.25, 1.0)
    """
    return next((alphas[part] for part in reversed(_parts(name)) if part in alphas), default)


def _parts(name: str) -> list[str]:
    words = name.split(".")
    return [".".join(words[: count + 1]) for count in range(len(words))]


def fisher_merge(
    a: State, b: State, alpha: float, fisher_a: State, fisher_b: State, floor: float = 1e-8
) -> dict[str, Tensor]:
    """Return the mean of two models weighted by their diagonal Fisher information, element by element.

    `((1 - alpha) f_a a + alpha f_b b) / ((1 - alpha) f_a + alpha f_b)` with `f = max(F, floor)` (Matena and Raffel
    2022). A tensor without Fisher information in both files is interpolated plainly, and so are elements of which
    neither model knows anything (possible with `floor=0` only). Computed in float32 at least and returned in the type
    of `b`. Alpha 0 and 1 return the end points exactly.

    Raises:
        CheckpointError: if keys or shapes differ, a tensor has Fisher information in one file only, or some of it is
            negative, infinite or NaN.
        CallError: if the floor is no number of 0 or more.

    Example:
        >>> w0, w1, f = {"w": torch.zeros(1)}, {"w": torch.ones(1)}, {"w": torch.ones(1)}
        >>> fisher_merge(w0, w1, 0.5, f, {"w": 3 * torch.ones(1)})
        {'w': tensor([0.7500])}
    """
    check_compatible(a, b)
    if not 0 <= floor < math.inf:
        raise CallError(
            f"the floor of the Fisher information is {floor}; expected a number of 0 or more, such as 1e-8."
        )
    informed = _informed(b, fisher_a, fisher_b)
    merged = {name: _mix(a[name], tensor, alpha) for name, tensor in b.items() if name not in informed}
    for name, tensor in informed.items():
        weight_a = (1 - alpha) * widened(fisher_a[name], tensor).clamp_min(floor)
        weight_b = alpha * widened(fisher_b[name], tensor).clamp_min(floor)
        total = weight_a + weight_b
        share = torch.where(total > 0, weight_b / total, alpha)
        merged[name] = torch.lerp(widened(a[name], tensor), widened(tensor, tensor), share).to(tensor.dtype)
    return {name: merged[name] for name in b}


def _informed(b: State, fisher_a: State, fisher_b: State) -> dict[str, Tensor]:
    """Return the tensors of b that both files know something about, after a look at what they know."""
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
        wrong = [name for name in informed if not ((fisher[name] >= 0) & fisher[name].isfinite()).all()]
        if wrong:  # NaN would pass for "nothing known", and the merge for a plain one
            raise CheckpointError(
                f"Fisher information of {listing(wrong)} is negative, infinite or NaN; expected squares of gradients, "
                "finite and at least 0. Estimate it again, in fp32 and with a model whose predictions are finite."
            )
    return informed
