"""The only way foreign weights are read: by their content, whatever the name, and without running anything in them."""

import contextlib
import dataclasses
import errno
import hashlib
import mmap
import pickle
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from vlm_models.errors import CheckpointError
from vlm_models.memory import require_memory
from vlm_models.weight_formats.pickle_machine import read_pickle
from vlm_models.weight_formats.pickle_records import MalformedPickle, printable
from vlm_models.weight_formats.safetensors_file import (
    INDEX_SUFFIX,
    looks_like_safetensors,
    read_safetensors,
    read_sharded,
)
from vlm_models.weight_formats.state_dicts import SavedState, find_state
from vlm_models.weight_formats.torch_pickles import LEGACY_START, read_legacy, torch_calls
from vlm_models.weight_formats.torch_zip import ZIP_START, TorchArchive, load_plain

SAFETENSORS, SHARDED = "safetensors", "sharded safetensors"
TORCH_ZIP, TORCH_LEGACY, TORCHSCRIPT, PICKLED_MODULE = "torch zip", "torch legacy", "torchscript", "pickled module"
_USUAL_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
"""What is read when a folder is given; an index of shards goes before them."""
_NOT_WEIGHTS = {
    b"<": "a web page, as servers send in place of a file that needs a login or is gone",
    b"version https://git-lfs": "the pointer that git keeps in place of a large file; fetch it with `git lfs pull`",
    b"\x93NUMPY": "an array of NumPy",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"GGUF": "a GGUF file, whose quantised weights cannot be trained",
    b"\x89HDF": "an HDF5 file of Keras",
}


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """What was read from a file (or an index with its shards).

    Attributes:
        path: where it lies.
        tensors: by name, as saved; mapped from the file where its format allows, so copy them to change them.
            Prefixes of wrappers (`module.`, `_orig_mod.`) are taken off, optimizers and the like left out.
        facts: plain values beside the tensors: metadata, epoch, configuration; of pickled modules the attributes by
            dotted name, such as `visual.input_resolution`.
        format: `safetensors`, `sharded safetensors`, `torch zip`, `torch legacy`, `torchscript` or `pickled module`.
        classes: of pickled and TorchScript modules the class of each, such as `clip.model.QuickGELU`; else empty.
        shards: the further files it was read from.
    """

    path: Path
    tensors: dict[str, Tensor]
    facts: Mapping[str, Any]
    format: str
    classes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shards: tuple[Path, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """The 64 hexadecimal digits that publishers give: of the file, or of index and shards one after the other."""
        digest = hashlib.sha256()
        for part in (self.path, *self.shards):
            with open(part, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def read_weight_file(path: str | Path, *, memory: int | None = None) -> WeightFile:
    """Read the weights in a file of any of the formats that models are published in.

    Nothing in the file is run: tensors-only files are read by PyTorch with `weights_only=True`; pickled modules and
    TorchScript by a reader that imports and calls nothing (`weight_formats.pickle_machine`).

    Args:
        path: a file, an index of shards, or a folder that holds one of either under its usual name.
        memory: bytes that may be taken by formats that have to be read as a whole; what the system has if None.

    Raises:
        CheckpointError: if there is no such file, or it is cut, damaged, of another format or too large for the memory;
            or if it asks for functions to be called that no weight file needs, which are named.

    Example:
        >>> import tempfile, torch
        >>> place = Path(tempfile.mkdtemp()) / "epoch3.pt"
        >>> torch.save({"epoch": 3, "state_dict": {"module.proj": torch.ones(2)}}, place)
        >>> found = read_weight_file(place)
        >>> found.tensors, dict(found.facts), found.format
        ({'proj': tensor([1., 1.])}, {'epoch': 3}, 'torch zip')
    """
    place = _weight_file_in(Path(path))
    with _explaining(place):
        if place.name.endswith(INDEX_SUFFIX):
            tensors, metadata, shards = read_sharded(place)
            state = find_state(tensors, place)
            return WeightFile(place, state.tensors, metadata, SHARDED, shards=tuple(shards))
        size = place.stat().st_size
        with open(place, "rb") as file:
            start = file.read(64)
        if looks_like_safetensors(start, size):
            tensors, metadata = read_safetensors(place)
            return WeightFile(place, find_state(tensors, place).tensors, metadata, SAFETENSORS)
        state, kind = _read_pickled(place, start, size, memory)
    return WeightFile(place, state.tensors, state.facts, kind, state.classes)


def _weight_file_in(path: Path) -> Path:
    """Return the file itself, or that in a folder which holds the weights."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"there is no weight file {path}. Expected a file, or a folder with one; check the path.")
    indexes = sorted(path.glob(f"*{INDEX_SUFFIX}"))
    found = [*indexes, *(path / name for name in _USUAL_FILES if (path / name).is_file())]
    if not found:
        raise CheckpointError(
            f"{path} is a folder without weights under a usual name. Expected {', '.join(_USUAL_FILES)} or "
            f"model{INDEX_SUFFIX} in it; name the weight file itself."
        )
    return found[0]


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turn whatever damaged bytes lead to into an error that names the file."""
    try:
        yield
    except CheckpointError:
        raise
    except MemoryError as error:
        raise _too_large(path) from error
    except Exception as error:  # damaged bytes make torch, zipfile, safetensors and pickles raise nearly anything
        if getattr(error, "errno", 0) == errno.ENOMEM or "annot allocate memory" in str(error):
            raise _too_large(path) from error
        reason = printable(" ".join(str(error).split()).split(". ")[0].rstrip("."), most=200)
        kind = "" if isinstance(error, MalformedPickle) else f"{type(error).__name__}: "
        raise CheckpointError(
            f"cannot read weights from {path}: {kind}{reason}. Expected a whole safetensors file, or "
            "one that PyTorch saved; it is cut or damaged, copy or download it again."
        ) from error


def _too_large(path: Path) -> CheckpointError:
    return CheckpointError(
        f"there is not enough memory to read {path}, of {path.stat().st_size / 1e9:.1f} GB. "
        "Expected room for all of it; end other programs or take a machine with more memory."
    )


def _read_pickled(path: Path, start: bytes, size: int, memory: int | None) -> tuple[SavedState, str]:
    is_zip = start.startswith(ZIP_START)
    if not is_zip and not (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
        raise _unknown_format(path, start, size)
    if not is_zip:  # the numbers lie where they happen to, so they have to be copied
        require_memory(size, f"reading {path}, which is not a zip archive,", memory)
    with open(path, "rb") as file:
        buffer = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    calls = torch_calls()
    if is_zip:
        archive = TorchArchive(path, buffer)
        archive.check()
        kind = TORCHSCRIPT if archive.is_script else TORCH_ZIP
        read = partial(archive.read, calls)
    elif start.startswith(LEGACY_START):
        kind, read = TORCH_LEGACY, partial(read_legacy, buffer, 0, calls)
    else:
        kind, read = PICKLED_MODULE, lambda: read_pickle(buffer, 0, calls)[0]
    if kind in (TORCH_ZIP, TORCH_LEGACY):
        with contextlib.suppress(pickle.UnpicklingError):  # then there is more than tensors in it
            return find_state(load_plain(path, is_mapped=is_zip), path), kind
    try:
        value = read()
    finally:
        _refuse_calls(path, calls.refused)
    state = find_state(value, path)
    return state, PICKLED_MODULE if state.classes and kind != TORCHSCRIPT else kind


def _refuse_calls(path: Path, refused: list[str]) -> None:
    if refused:
        raise CheckpointError(
            f"{path} asks for programs to be run when it is read: it calls {', '.join(refused[:8])}. Nothing was run. "
            "Expected tensors, and modules of PyTorch; do not open the file with other programs. If you trust who made "
            "it, load it where it was made, save `model.state_dict()` with torch.save, and read that."
        )


def _unknown_format(path: Path, start: bytes, size: int) -> CheckpointError:
    looks = next((what for sign, what in _NOT_WEIGHTS.items() if start.lstrip().startswith(sign)), None)
    looks = "empty" if not size else looks or f"of no known format; it begins with {start[:8]!r}"
    return CheckpointError(
        f"cannot read weights from {path}: it is {looks}. Expected a whole safetensors file, or one that PyTorch saved "
        f"(state dict, module or TorchScript). It has {size:,} bytes; download or copy it again."
    )
