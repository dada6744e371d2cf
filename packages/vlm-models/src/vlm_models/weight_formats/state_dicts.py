"""The weights in what a training program saved: beside an epoch, an optimizer, a configuration, under a prefix."""

import argparse
import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vlm_data.errors import listing
from vlm_models.errors import CheckpointError
from vlm_models.weight_formats.modules import is_module, module_content
from vlm_models.weight_formats.pickle_records import Record, printable
from vlm_models.weight_formats.pickled_tensors import TensorRecord

_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "model_state",
    "net",
    "network",
    "params",
    "weights",
    "checkpoint",
)
"""Names under which programs save the weights, the most telling first."""
_BESIDE = re.compile(r"(^|_)(optim\w*|\w*scheduler|scaler|rng|ema)(_|$)")
"""Names of entries that are not the model: state of the training, or an average of the weights."""
_PREFIXES = ("module.", "_orig_mod.")
"""What `DataParallel` and `torch.compile` put before every name."""
_MOST_FACTS, _DEEPEST_FACT = 10_000, 8
_LONGEST_NAME = 500


@dataclasses.dataclass
class SavedState:
    """What was found.

    Attributes:
        tensors: by name.
        facts: plain values beside them: epoch, configuration; of modules, their attributes by dotted name.
        classes: of pickled modules, the class of each.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    classes: dict[str, str] = dataclasses.field(default_factory=dict)


def find_state(value: Any, source: object) -> SavedState:
    """Return the weights in a value that was saved.

    Accepted are a module, a dict of tensors, and a dict in which one of these stands under a usual name, or alone.

    Raises:
        CheckpointError: if there are no weights, or several sets of them under names that tell nothing.
    """
    state = _find(value, source, depth=0)
    if not state.tensors:
        raise CheckpointError(
            f"cannot read weights from {source}: there are no tensors in it. Expected a whole model: a state dict "
            "(names and tensors) or a module that was saved."
        )
    odd = [name for name in state.tensors if not name.isprintable() or len(name) > _LONGEST_NAME]
    if odd:
        raise CheckpointError(
            f"cannot read weights from {source}: a tensor is called {printable(odd[0])}. Expected names that a program "
            "gives; the file is damaged, copy or download it again."
        )
    return _without_prefixes(state)


def _find(value: Any, source: object, depth: int) -> SavedState:
    if is_module(value):
        content = module_content(value)
        return SavedState(content.tensors, dict(content.attributes), content.classes)
    if isinstance(value, Record):  # an object that is a dict, such as a configuration
        value = value.entries or value.state
    if not isinstance(value, Mapping) or depth > 3:
        raise CheckpointError(
            f"cannot read weights from {source}: it holds {_described(value)}. Expected a whole model: a state dict "
            "(names and tensors) or a module that was saved."
        )
    facts = _facts({name: one for name, one in value.items() if not _BESIDE.search(str(name))})
    inner = _inner(value, source)
    if inner is None:
        tensors = {str(name): _tensor(str(name), one) for name, one in value.items() if _is_tensor(one)}
        return SavedState(tensors, facts)
    found = _find(value[inner], source, depth + 1)
    facts.pop(inner, None)
    return dataclasses.replace(found, facts=facts | found.facts)


def _inner(value: Mapping[Any, Any], source: object) -> Any:
    """Return the key under which the weights are, None if they are the entries themselves."""
    holders = [name for name, one in value.items() if _holds_weights(one)]
    usual = [name for name in _WRAPPERS if name in holders]
    if usual:
        return usual[0]
    if any(_is_tensor(one) for one in value.values()):
        return None
    models = [name for name in holders if not _BESIDE.search(str(name))] or holders
    if len(models) == 1:
        return models[0]
    if not models:
        what = listing(list(value)) if value else "nothing"
        raise CheckpointError(
            f"cannot read weights from {source}: it holds no weights of a model, only {what}. Expected a state dict "
            f"(names and tensors), or one under a name such as {_WRAPPERS[0]}; the file of an optimizer lies beside "
            "that of its model."
        )
    raise CheckpointError(
        f"cannot read weights from {source}: it holds {len(models)} sets of them, {listing(models)}. Expected one, or "
        f"a name such as {_WRAPPERS[0]} that tells which is the model; save the one you mean alone."
    )


def _holds_weights(value: Any, depth: int = 0) -> bool:
    if is_module(value):
        return True
    if not isinstance(value, Mapping) or {"state", "param_groups"} <= value.keys():
        return False
    if any(_is_tensor(one) for one in value.values()):
        return all(isinstance(name, str) for name in value)
    return depth < 2 and any(_holds_weights(value[name], depth + 1) for name in _WRAPPERS if name in value)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor | TensorRecord)


def _tensor(name: str, value: Any) -> Tensor:
    """Return a plain tensor; one that repeats the numbers of its storage could fill the memory once it is copied."""
    found = value.tensor() if isinstance(value, TensorRecord) else value.detach()
    if found.layout != torch.strided or found.is_quantized or found.is_meta:
        raise CheckpointError(
            f"the tensor {printable(name)} is sparse, quantised or without numbers. Expected plain tensors; save it as "
            "one."
        )
    stored = found.untyped_storage().nbytes()
    if found.nbytes > stored:
        raise CheckpointError(
            f"the tensor {printable(name)} claims {found.nbytes:,} bytes, but {stored:,} are in the file. "
            "Expected every number to be there; save it with `.contiguous()`."
        )
    return found


def _described(value: Any) -> str:
    if _is_tensor(value):
        return "a single tensor"
    return f"an object of {printable(str(value.maker))}" if isinstance(value, Record) else f"a {type(value).__name__}"


def _without_prefixes(state: SavedState) -> SavedState:
    while True:
        prefix = next((one for one in _PREFIXES if all(name.startswith(one) for name in state.tensors)), None)
        if prefix is None:
            return state
        inner = {f"{name}.": kind for name, kind in state.classes.items()}
        state = SavedState(
            {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items()},
            {name.removeprefix(prefix): fact for name, fact in state.facts.items()},
            {name.removeprefix(prefix)[:-1]: kind for name, kind in inner.items() if name.startswith(prefix)},
        )


def _facts(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the plain values of a dict, of those in it, and of the configurations in it."""
    budget = iter(range(_MOST_FACTS))
    found = _plain(value, budget, 0)
    return found if isinstance(found, dict) else {}


def _plain(value: Any, budget: Iterable[int], depth: int) -> Any:
    if next(iter(budget), None) is None or depth > _DEEPEST_FACT:
        return None
    if isinstance(value, Record) and not is_module(value):
        value = value.state or value.entries or value.members or None
    elif isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        found = {str(name): _plain(one, budget, depth + 1) for name, one in value.items()}
        return {name: one for name, one in found.items() if one is not None} or None
    if isinstance(value, list | tuple):
        return [_plain(one, budget, depth + 1) for one in value]
    return value if isinstance(value, bool | int | float | str) else None
