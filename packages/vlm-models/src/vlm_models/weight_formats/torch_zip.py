"""Zip archives of PyTorch (since 1.6): state dicts, pickled modules, TorchScript; nothing in them is run."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from vlm_models.errors import CheckpointError
from vlm_models.weight_formats.pickle_machine import read_pickle
from vlm_models.weight_formats.pickle_records import Calls, MalformedPickle
from vlm_models.weight_formats.pickled_tensors import Storage
from vlm_models.weight_formats.torch_pickles import persistent_storage, same_storage

ZIP_START = b"PK\x03\x04"
_MOST_MEMBERS = 200_000
_LOCAL_HEADER = 30
"""Bytes before the name in the header of a member; the lengths of name and extra field end it, 2 bytes each."""


class TorchArchive:
    """The members of an archive, as views of the mapped file.

    Attributes:
        is_script: whether it is a TorchScript archive, which holds code besides data.
    """

    def __init__(self, path: Path, buffer: memoryview) -> None:
        """Read the list of members.

        Raises:
            CheckpointError: if it is none of PyTorch's, or packed: PyTorch stores its members as they are, so nothing
                has to be unpacked, and a small file cannot become a large one.
        """
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        pickles = [member.filename for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1 or len(members) > _MOST_MEMBERS:
            raise CheckpointError(
                f"{path} is a zip archive that PyTorch did not write: of its {len(members)} members {len(pickles)} are "
                "named data.pkl. Expected a file of torch.save or torch.jit.save; unpack the archive and name the "
                "weight file in it."
            )
        self._buffer = buffer
        self._root = pickles[0].removesuffix("data.pkl")
        names = {member.filename.removeprefix(self._root) for member in members}
        self.is_script = "constants.pkl" in names or any(name.startswith("code/") for name in names)
        read = [member for member in members if not member.filename.removeprefix(self._root).startswith("code/")]
        self._refuse_packed(path, read)
        self._members = {member.filename.removeprefix(self._root): member for member in read}

    def _refuse_packed(self, path: Path, members: list[zipfile.ZipInfo]) -> None:
        packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
        total = sum(member.file_size for member in members)
        if packed or total > len(self._buffer):
            raise CheckpointError(
                f"{path} is a packed archive: {len(packed)} of its members are compressed, and unpacked all take "
                f"{total:,} bytes where the file has {len(self._buffer):,}. Expected members stored as they are, as "
                "torch.save writes them; a zip made from an unpacked checkpoint has to be written again with it."
            )

    def member(self, name: str) -> memoryview:
        """Return the bytes of a member.

        Raises:
            MalformedPickle: if there is none of that name, or it reaches beyond the file.
        """
        if name not in self._members:
            raise MalformedPickle(f"no member {name} in the archive")
        info = self._members[name]
        lengths = bytes(self._buffer[info.header_offset + _LOCAL_HEADER - 4 : info.header_offset + _LOCAL_HEADER])
        name_length, extra_length = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
        start = info.header_offset + _LOCAL_HEADER + name_length + extra_length
        if start + info.file_size > len(self._buffer):
            raise MalformedPickle(f"the member {name} reaches beyond the file")
        return self._buffer[start : start + info.file_size]

    def check(self) -> None:
        """Compare all members with their checksums: PyTorch does not, and reads a damaged number as another number.

        It costs one pass over the file; an archive that was written without checksums has zeros in their place.

        Raises:
            MalformedPickle: if one differs.
        """
        for name, info in self._members.items():
            if info.CRC and zlib.crc32(self.member(name)) != info.CRC:
                raise MalformedPickle(f"{name} is not what was written: its checksum differs")

    def read(self, calls: Calls) -> Any:
        """Return the value in the archive, tensors and modules as records.

        Raises:
            MalformedPickle: if it is damaged or from a machine of the other byte order.
        """
        if "byteorder" in self._members and bytes(self.member("byteorder")) != b"little":
            raise MalformedPickle("numbers in the other byte order")
        storages: dict[str, Storage] = {}

        def place(key: str, storage: Storage, size: int) -> Storage:
            if key not in storages:
                data = self.member(f"data/{key}")
                if len(data) < size:
                    raise MalformedPickle(f"{len(data)} bytes where {size} should be, in data/{key}")
                storage.data = data
                storages[key] = storage
            return same_storage(storages[key], storage)

        return read_pickle(self.member("data.pkl"), 0, calls, lambda identity: persistent_storage(identity, place))[0]


def load_plain(path: Path, is_mapped: bool) -> Any:
    """Return what PyTorch itself reads safely: tensors, containers, numbers and texts.

    Args:
        path: a file of torch.save.
        is_mapped: leave the numbers in the file until they are used; zip archives only.

    Raises:
        pickle.UnpicklingError: if there is anything else in the file.
    """
    if is_mapped and path.suffix != ".safetensors":  # PyTorch trusts the name, and would not read a zip archive
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    with open(path, "rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)
