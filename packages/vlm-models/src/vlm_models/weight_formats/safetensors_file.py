"""Files of the safetensors format, one or several that an index holds together."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vlm_models.errors import CheckpointError

INDEX_SUFFIX = ".safetensors.index.json"
_LONGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""


def looks_like_safetensors(start: bytes, size: int) -> bool:
    """Tell by its first 9 bytes whether a file is of this format: the length of the header, then its opening brace.

    Example:
        >>> looks_like_safetensors((24).to_bytes(8, "little") + b"{", 100)
        True
    """
    length = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 2 <= length <= min(_LONGEST_HEADER, size - 8)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, mapped from the file, and its metadata.

    Raises:
        SafetensorError: if it is cut or damaged.
    """
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def read_sharded(index: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[Path]]:
    """Return the tensors of all shards, mapped, the metadata of the index and the shards.

    Args:
        index: `model.safetensors.index.json`, whose `weight_map` names the file of each tensor, beside it.

    Raises:
        CheckpointError: if a shard is missing or lacks a tensor, or the index names a file in another folder.
    """
    places, metadata = _read_index(index)
    names = sorted(set(places.values()))
    foreign = [name for name in names if name != Path(name).name or name in ("", ".", "..") or "\\" in name]
    if foreign:
        raise CheckpointError(
            f"{index} names {foreign[0]!r}, which is no file beside it. Expected plain file names; "
            "an index that points elsewhere is not one that a program wrote."
        )
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(names)} shards of {index} are missing: {', '.join(missing[:5])}. "
            f"Expected all of them in {index.parent}; copy or download them too."
        )
    tensors: dict[str, Tensor] = {}
    for name in names:
        found = _read_shard(index.parent / name)
        wanted = {tensor for tensor, place in places.items() if place == name}
        lacking = sorted(wanted - found.keys())
        if lacking:
            raise CheckpointError(
                f"the shard {name} lacks {len(lacking)} tensors that {index} places in it, such as {lacking[0]!r}. "
                "Expected index and shards of one model; download them again."
            )
        tensors |= {tensor: found[tensor] for tensor in sorted(wanted)}
    return tensors, metadata, [index.parent / name for name in names]


def _read_index(index: Path) -> tuple[dict[str, str], dict[str, Any]]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        places, metadata = content["weight_map"], content.get("metadata") or {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"cannot read the index {index}: {type(error).__name__} {error}. Expected JSON with a weight_map from "
            "names of tensors to files; download it again."
        ) from error
    if not (isinstance(places, dict) and places and all(isinstance(name, str) for name in places.values())):
        raise CheckpointError(
            f"the weight_map of {index} is not a map from names of tensors to files; download the index again."
        )
    return places, dict(metadata)


def _read_shard(path: Path) -> dict[str, Tensor]:
    try:
        return read_safetensors(path)[0]
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot read the shard {path}: {error}. Expected a whole safetensors file; copy or download it again."
        ) from error
