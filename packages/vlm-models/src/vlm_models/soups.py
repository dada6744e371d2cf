"""Soups: means of models that were fine-tuned from one start (Wortsman et al. 2022, "Model soups").

Buffers that are not floating point (counters, index tables) cannot be averaged and are taken from the last model.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vlm_data.errors import CallError
from vlm_models.errors import CheckpointError, VlmModelsError
from vlm_models.state_comparison import State, check_compatible, widened


class GreedySoup(NamedTuple):
    """A greedy soup and how it came about.

    Attributes:
        state: the mean of the ingredients.
        ingredients: positions of the models it is the mean of, in the order they were taken, best single model first.
        tried: score of every candidate, one per model after the first in `held_out_order`, taken or not.
    """

    state: dict[str, Tensor]
    ingredients: list[int]
    tried: list[float]


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
            total = {name: widened(tensor, tensor) for name, tensor in state.items() if tensor.is_floating_point()}
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


def greedy_soup(
    states: Sequence[State | Callable[[], State]],
    score: Callable[[dict[str, Tensor]], float],
    individual: Sequence[float] | None = None,
) -> GreedySoup:
    """Add models to the best one, best first, as long as the held-out score becomes strictly better.

    A candidate is `n / (n + 1) soup + 1 / (n + 1) model`, n the number of members so far; it replaces the soup if its
    score exceeds the best so far (Wortsman et al. 2022, recipe 1). Sums are kept in float32 at least; what is scored
    and returned has the types of the best model. States given as functions are read when their turn comes, so memory
    is that of the soup, the candidate and one model.

    Args:
        states: models of one architecture, or functions that read one each.
        score: held-out score of a state, higher is better, such as accuracy on ID validation; never of a test set.
        individual: scores of the single models where they are known already; computed by default.

    Raises:
        CheckpointError: if there is no model, or keys or shapes differ.
        CallError: if there is not one individual score per model.
        VlmModelsError: if a score is not a number.

    Example:
        >>> models = [{"w": torch.tensor([value])} for value in (0.0, 8.0, 4.0)]
        >>> soup = greedy_soup(models, lambda state: -abs(state["w"].item() - 2.5))
        >>> soup.state, soup.ingredients, soup.tried
        ({'w': tensor([2.])}, [2, 0], [-0.5, -1.5])
    """
    individual = _scores(states, score, individual)
    first, *others = held_out_order(individual)
    start = _read(states[first])
    types = {name: tensor.dtype for name, tensor in start.items()}
    soup = {name: widened(t, t) if t.is_floating_point() else t for name, t in start.items()}
    ingredients, tried, best = [first], [], individual[first]
    for position in others:
        candidate = _with_one_more(soup, _read(states[position]), len(ingredients))
        tried.append(_number(score({name: t.to(types[name]) for name, t in candidate.items()}), "a candidate"))
        if tried[-1] > best:
            soup, best = candidate, tried[-1]
            ingredients.append(position)
    return GreedySoup({name: t.to(types[name], copy=True) for name, t in soup.items()}, ingredients, tried)


def _scores(
    states: Sequence[State | Callable[[], State]],
    score: Callable[[dict[str, Tensor]], float],
    known: Sequence[float] | None,
) -> Sequence[float]:
    if not states:
        raise CheckpointError("a soup needs at least one model; none was given.")
    if known is None:
        return [score(dict(_read(state))) for state in states]
    if len(known) != len(states):
        raise CallError(f"{len(known)} scores were given for {len(states)} models; expected one per model.")
    return known


def held_out_order(scores: Sequence[float]) -> list[int]:
    """Return the positions of models in the order a greedy soup tries them: best first, of equal ones the last first.

    Ascending stable sort, then reversed, as the published program does it.

    Raises:
        VlmModelsError: if a score is not a number.

    Example:
        >>> held_out_order([0.5, 0.9, 0.5])
        [1, 2, 0]
    """
    for position, value in enumerate(scores):
        _number(value, f"model {position + 1}")
    return sorted(range(len(scores)), key=lambda position: scores[position])[::-1]


def _number(score: float, of: str) -> float:
    if math.isnan(score):
        raise VlmModelsError(
            f"the held-out score of {of} is {score}; expected a number. Nothing is better or worse than that: leave "
            "the model out, or look at its predictions."
        )
    return score


def _read(state: State | Callable[[], State]) -> State:
    return state() if callable(state) else state


def _with_one_more(soup: State, state: State, members: int) -> dict[str, Tensor]:
    check_compatible(soup, state)
    share = 1 / (members + 1)
    return {
        name: tensor * (members * share) + state[name].to(tensor.dtype) * share
        if tensor.is_floating_point()
        else state[name]
        for name, tensor in soup.items()
    }
