"""Tensors in pickles: what PyTorch's rebuilding functions describe, and the tensors themselves, as views of a file."""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from vlm_models.weight_formats.pickle_records import MalformedPickle, Name

_STORAGE_TYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
}


def storage_type(name: object) -> torch.dtype:
    """Return the type of the elements of a storage class, such as `torch.HalfStorage`.

    Raises:
        MalformedPickle: if there is no such class.

    Example:
        >>> storage_type(Name("torch.cuda", "HalfStorage"))
        torch.float16
    """
    found = _STORAGE_TYPES.get(name.qualified.removesuffix("Storage")) if isinstance(name, Name) else None
    if found is None or not isinstance(name, Name) or name.module.partition(".")[0] != "torch":
        raise MalformedPickle(f"numbers of the unknown type {name}")
    return found


def element_type(name: object) -> torch.dtype:
    """Return the type that a name such as `torch.bfloat16` stands for.

    Raises:
        MalformedPickle: if it is none.
    """
    found = getattr(torch, name.qualified, None) if isinstance(name, Name) and name.module == "torch" else None
    if not isinstance(found, torch.dtype):
        raise MalformedPickle(f"numbers of the unknown type {name}")
    return found


@dataclasses.dataclass(eq=False)
class Storage:
    """A row of numbers in a file, on which any number of tensors are views.

    Attributes:
        dtype: type of the numbers.
        data: their bytes; None until it is known where in the file they are.
    """

    dtype: torch.dtype
    data: memoryview | bytes | None = None
    _numbers: Tensor | None = None

    def numbers(self) -> Tensor:
        """Return all bytes as one uint8 tensor, without a copy where the file is aligned to the type.

        Raises:
            MalformedPickle: if they are not in the file.
        """
        if self._numbers is None:
            if self.data is None:
                raise MalformedPickle("a tensor whose numbers are not in the file")
            data = self.data if isinstance(self.data, memoryview) and not self.data.readonly else bytearray(self.data)
            found = torch.frombuffer(data, dtype=torch.uint8) if len(data) else torch.empty(0, dtype=torch.uint8)
            self._numbers = found.clone() if found.data_ptr() % 16 else found
        return self._numbers


@dataclasses.dataclass(frozen=True, eq=False)
class TensorRecord:
    """A tensor that a pickle describes.

    Attributes:
        storage: where its numbers are.
        offset: index of its first number.
        shape: sizes.
        stride: steps between neighbours, in numbers.
        dtype: their type, that of the storage in older files.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def tensor(self) -> Tensor:
        """Return the tensor, a view of the file.

        Raises:
            MalformedPickle: if it reaches beyond its storage, or repeats numbers: a small file must not describe a
                tensor that fills the memory.
        """
        whole = self.storage.numbers()
        numbers = whole[: len(whole) // self.dtype.itemsize * self.dtype.itemsize].view(self.dtype)
        if min((0, self.offset, *self.shape, *self.stride)) < 0 or len(self.shape) != len(self.stride):
            raise MalformedPickle(f"a tensor of shape {self.shape}, stride {self.stride} and offset {self.offset}")
        count = math.prod(self.shape)
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((size - 1) * step for size, step in steps) if count else 0
        if count > len(numbers) or (count and last >= len(numbers)):
            raise MalformedPickle(f"a tensor of shape {self.shape} on a storage of {len(numbers)} numbers")
        return numbers.as_strided(self.shape, self.stride, self.offset) if count else numbers[:0].reshape(self.shape)


def rebuild_tensor(storage: Any, offset: int, shape: Any, stride: Any, *rest: Any) -> TensorRecord:
    """Describe the tensor that `torch._utils._rebuild_tensor_v2` (and its elder) would make.

    Raises:
        MalformedPickle: if it is described by other things than a storage and numbers.
    """
    return _rebuild(storage, offset, shape, stride, storage.dtype)


def rebuild_typed_tensor(
    storage: Any, offset: int, shape: Any, stride: Any, gradient: Any, hooks: Any, dtype: Any, *rest: Any
) -> TensorRecord:
    """Describe the tensor that `torch._utils._rebuild_tensor_v3` would make, whose type is told apart.

    Raises:
        MalformedPickle: if it is described by other things than a storage and numbers.
    """
    return _rebuild(storage, offset, shape, stride, element_type(dtype))


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, dtype: torch.dtype) -> TensorRecord:
    sizes, steps = tuple(shape), tuple(stride)
    if not isinstance(storage, Storage) or not all(type(number) is int for number in (offset, *sizes, *steps)):
        raise MalformedPickle("a tensor that is described by other things than numbers")
    return TensorRecord(storage, offset, sizes, steps, dtype)


def rebuild_parameter(tensor: Any, *rest: Any) -> Any:
    """Return the tensor: whether it was trained is of no use to a reader."""
    return tensor
