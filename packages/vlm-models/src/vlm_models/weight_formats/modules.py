"""Modules in pickles: the names of their tensors, as `state_dict()` gives them, without the modules themselves."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from vlm_models.weight_formats.pickle_records import MalformedPickle, Name, Record
from vlm_models.weight_formats.pickled_tensors import TensorRecord

_DEEPEST, _MOST = 64, 200_000
"""Nesting and number of modules no model has: a module that holds itself, or twice another that holds twice another."""
_SCRIPT = "__torch__."
_MANGLED = re.compile(r"___torch_mangle_\d+\.")
"""What TorchScript puts into the names of classes so that no two modules share one."""
_UNTOLD = frozenset({"training", "dump_patches", "call_super_init"})
"""Attributes that every module has and that tell nothing about the model."""


@dataclasses.dataclass
class ModuleContent:
    """What a pickled module holds, under dotted names.

    Attributes:
        tensors: parameters and persistent buffers.
        classes: the class of each module, itself under the empty name.
        attributes: numbers, texts and truth values that modules carry, such as `normalize`.
    """

    tensors: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    classes: dict[str, str] = dataclasses.field(default_factory=dict)
    attributes: dict[str, bool | int | float | str] = dataclasses.field(default_factory=dict)


def is_module(value: object) -> bool:
    """Tell whether a record describes a module, of PyTorch or of TorchScript.

    Example:
        >>> is_module(Record(Name("clip.model", "CLIP"), state={"_parameters": {}, "_modules": {}}))
        True
    """
    if not (isinstance(value, Record) and isinstance(value.maker, Name)):
        return False
    return {"_parameters", "_modules"} <= value.state.keys() or value.maker.module.startswith(_SCRIPT)


def module_content(root: Record) -> ModuleContent:
    """Return the tensors, classes and plain attributes of a module and those inside it.

    Buffers that the module itself would leave out of its state dict are left out.

    Raises:
        MalformedPickle: if modules are nested without an end.
    """
    content = ModuleContent()
    for count, (prefix, module) in enumerate(_modules(root, "", 0)):
        if count > _MOST:
            raise MalformedPickle(f"more than {_MOST:,} modules")
        content.classes[prefix.rstrip(".")] = _class_name(module)
        for name, value in _own(module):
            if isinstance(value, TensorRecord):
                content.tensors[prefix + name] = value.tensor()
            elif isinstance(value, Tensor):
                content.tensors[prefix + name] = value
            elif type(value) in (bool, int, float, str) and not name.startswith("_") and name not in _UNTOLD:
                content.attributes[prefix + name] = value
    return content


def _class_name(module: Record) -> str:
    name = str(module.maker).removeprefix(_SCRIPT)
    return _MANGLED.sub("", name)


def _modules(module: Record, prefix: str, depth: int) -> Iterator[tuple[str, Record]]:
    if depth > _DEEPEST:
        raise MalformedPickle(f"modules nested deeper than {_DEEPEST}")
    yield prefix, module
    inner = module.state.get("_modules", module.state)
    for name, value in inner.items() if isinstance(inner, dict) else ():
        if is_module(value):
            yield from _modules(value, f"{prefix}{name}.", depth + 1)


def _own(module: Record) -> Iterator[tuple[str, Any]]:
    """Yield parameters, persistent buffers and other attributes of one module, without those inside it."""
    state = module.state
    if "_parameters" not in state:  # of TorchScript, where all are attributes
        yield from ((str(name), value) for name, value in state.items())
        return
    passing = state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        values = state.get(kind)
        for name, value in values.items() if isinstance(values, dict) else ():
            if name not in passing:
                yield str(name), value
    for name, value in state.items():
        if not isinstance(value, TensorRecord | Tensor):  # a tensor beside the two is no weight
            yield str(name), value
