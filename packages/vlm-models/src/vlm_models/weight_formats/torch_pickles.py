"""The pickles of PyTorch: in zip archives, in files of the time before them, and plain ones of whole modules."""

from collections.abc import Callable
from typing import Any

from vlm_models.weight_formats.pickle_machine import read_pickle
from vlm_models.weight_formats.pickle_records import Calls, MalformedPickle, Record, checked_key
from vlm_models.weight_formats.pickled_tensors import (
    Storage,
    rebuild_parameter,
    rebuild_tensor,
    rebuild_typed_tensor,
    storage_type,
)

LEGACY_START = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""How files of PyTorch before 1.6 begin: a pickle of the number 0x1950a86a20f9469cfc6c."""
_LEGACY_PROTOCOL = 1001


def torch_calls() -> Calls:
    """Return the meaning of the calls that pickles of tensors and modules ask for.

    Example:
        >>> from vlm_models.weight_formats.pickle_records import Name
        >>> torch_calls()(Name("collections", "OrderedDict"), ([("a", 1)],))
        {'a': 1}
    """

    def from_type(maker: Any, _type: Any, arguments: Any, *_state: Any) -> Any:
        return calls(maker, tuple(arguments))

    calls = Calls(
        _VALUES
        | {
            "torch.storage._load_from_bytes": lambda data: _load_from_bytes(data, calls),
            "torch._tensor._rebuild_from_type_v2": from_type,
        }
    )
    return calls


def _dict(pairs: Any = ()) -> dict[Any, Any]:
    return {checked_key(key): value for key, value in (pairs.items() if isinstance(pairs, dict) else pairs)}


def _set(members: Any = ()) -> set[Any]:
    return {checked_key(member) for member in members}


_VALUES: dict[str, Callable[..., Any]] = {
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.dict": _dict,
    "builtins.list": list,
    "builtins.tuple": tuple,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": lambda *factory: {},
    "copyreg._reconstructor": lambda maker, *base: Record(maker),
    "_codecs.encode": lambda text, *encoding: text.encode("latin-1"),
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": rebuild_typed_tensor,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter,
    "torch.jit._pickle.restore_type_tag": lambda value, _type: value,
    "torch.jit._pickle.build_intlist": list,
    "torch.jit._pickle.build_boollist": list,
    "torch.jit._pickle.build_doublelist": list,
    "torch.jit._pickle.build_tensorlist": list,
}


def persistent_storage(identity: Any, place: Callable[[str, Storage, int], Storage]) -> Any:
    """Return what a persistent id of PyTorch stands for: a storage, or the class of a module.

    Args:
        identity: `("storage", class, key, device, count, ...)` or `("module", class, file, source code)`.
        place: given key, a new storage and its size in bytes, returns the storage to use under that key.

    Raises:
        MalformedPickle: for another one.
    """
    if isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage":
        kind, key, _device, count, *view = identity[1:]
        dtype = storage_type(kind)
        if type(count) is int and count >= 0 and not any(view):
            return place(str(key), Storage(dtype), count * dtype.itemsize)
    elif isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
        return identity[1]
    raise MalformedPickle("a persistent id that PyTorch does not write")


def same_storage(kept: Storage, named: Storage) -> Storage:
    """Return the storage kept under a key.

    Raises:
        MalformedPickle: if it is named again with another type.
    """
    if kept.dtype != named.dtype:
        raise MalformedPickle(f"the same numbers as {kept.dtype} and {named.dtype}")
    return kept


def read_legacy(buffer: memoryview, position: int, calls: Calls) -> Any:
    """Read a file as PyTorch wrote them before 1.6, and still writes storages into plain pickles.

    Five pickles (a magic number, a version, facts about the machine, the value, the keys of storages), then for each
    key its count of numbers in 8 bytes, and the numbers.

    Raises:
        MalformedPickle: if it is cut, damaged or from a machine of the other byte order.
    """
    if bytes(buffer[position : position + len(LEGACY_START)]) != LEGACY_START:
        raise MalformedPickle("a storage that PyTorch did not write")
    position += len(LEGACY_START)
    version, position = read_pickle(buffer, position, calls)
    machine, position = read_pickle(buffer, position, calls)
    if version != _LEGACY_PROTOCOL or not (isinstance(machine, dict) and machine.get("little_endian")):
        raise MalformedPickle(f"version {version!r} of PyTorch's format, or numbers in the other byte order")
    storages: dict[str, Storage] = {}

    def place(key: str, storage: Storage, _size: int) -> Storage:
        return same_storage(storages.setdefault(key, storage), storage)

    value, position = read_pickle(buffer, position, calls, lambda identity: persistent_storage(identity, place))
    keys, position = read_pickle(buffer, position, calls)
    for key in keys:
        count = int.from_bytes(buffer[position : position + 8], "little", signed=True)
        size = count * storages[str(key)].dtype.itemsize
        position += 8
        if not 0 <= size <= len(buffer) - position:
            raise MalformedPickle(f"{len(buffer) - position} bytes where {size} should follow; the file is cut")
        storages[str(key)].data = buffer[position : position + size]
        position += size
    return value


def _load_from_bytes(data: Any, outer: Calls) -> Storage:
    """Return the storage that is written in a byte string of a plain pickle."""
    inner = Calls(_VALUES)  # a storage holds no further one
    storage = read_legacy(memoryview(data), 0, inner)
    for name in inner.refused:
        outer.refuse(name)
    if not isinstance(storage, Storage):
        raise MalformedPickle("a byte string that should be a storage")
    return storage
