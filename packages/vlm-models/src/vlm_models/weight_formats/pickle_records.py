"""What a pickle is read into: plain values, and records in place of the objects of classes and functions it names."""

import dataclasses
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # the table that Python's own unpickler uses
from collections.abc import Callable, Mapping
from typing import Any


class MalformedPickle(ValueError):
    """The bytes are not a pickle, or one that no program writes."""


@dataclasses.dataclass(frozen=True)
class Name:
    """A class or function that a pickle names; it is never imported.

    Example:
        >>> str(Name("os", "system"))
        'os.system'
    """

    module: str
    qualified: str

    def __str__(self) -> str:
        return f"{self.module}.{self.qualified}"


@dataclasses.dataclass(eq=False)
class Record:
    """An object that a pickle describes, kept as the description.

    Attributes:
        maker: the class or function that would have made it, usually a `Name`.
        arguments: what it would have been called with.
        state: attributes of the object.
        entries: items of an object that is a mapping.
        members: items of an object that is a list.
    """

    maker: object
    arguments: tuple[Any, ...] = ()
    state: dict[str, Any] = dataclasses.field(default_factory=dict)
    entries: dict[Any, Any] = dataclasses.field(default_factory=dict)
    members: list[Any] = dataclasses.field(default_factory=list)


_PACKAGES = """
torch torchvision open_clip clip src models timm transformers tokenizers lightning pytorch_lightning
numpy PIL pathlib omegaconf enum collections argparse types decimal fractions uuid
"""
"""Packages whose objects training programs leave in their files. Their classes are written with a capital."""
_FUNCTIONS = """
builtins.getattr builtins.complex builtins.slice builtins.range builtins.bytes builtins.bytearray builtins.object
functools.partial torch.device re._compile _regex.compile regex._regex.compile
numpy.dtype numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar
numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar numpy.core.numeric._frombuffer
numpy._core.numeric._frombuffer
datetime.datetime datetime.date datetime.time datetime.timedelta datetime.timezone
"""
"""Functions, and classes without a capital, that such objects are rebuilt with."""
PACKAGES, DESCRIBED = frozenset(_PACKAGES.split()), frozenset(_FUNCTIONS.split())


def name_of(module: str, qualified: str) -> Name:
    """Return a name as Python 3 spells it; pickles of protocol 2 and below use that of Python 2.

    Example:
        >>> str(name_of("__builtin__", "set"))
        'builtins.set'
    """
    if (module, qualified) in NAME_MAPPING:
        return Name(*NAME_MAPPING[module, qualified])
    return Name(IMPORT_MAPPING.get(module, module), qualified)


def checked_key(key: Any) -> Any:
    """Return a key of a dict or a member of a set, if it can be hashed in no time.

    A tuple that holds another twice, which holds another twice, is written in few bytes and hashed in years.

    Raises:
        MalformedPickle: if it is a tuple of tuples, which no checkpoint has for a key.

    Example:
        >>> checked_key(("layer", 1))
        ('layer', 1)
    """
    if isinstance(key, tuple) and any(isinstance(part, tuple) for part in key):
        raise MalformedPickle("a key that is a tuple of tuples")
    return key


def printable(text: str, most: int = 120) -> str:
    """Return text from a file as it may stand in a message: on one line, without what steers a terminal, not long.

    Example:
        >>> printable("os" + chr(27) + "[2J.system")
        'os?[2J.system'
    """
    shown = "".join(character if character.isprintable() else "?" for character in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}..."


class Calls:
    """What becomes of the calls a pickle asks for. None of them is made.

    A pickle may ask for any function to be called while it is read; `os.system` is how a weight file runs a program.
    Here a call becomes the value it stands for if it is one of the few that describe plain data and tensors (`values`),
    a `Record` if it belongs to what training programs leave in their files, and is refused otherwise. Reading would be
    as safe without the refusal: the record of any other call is as inert. But a file that asks for one was made to do
    harm, or by a program whose objects nobody here can read, and its reader should hear of it.

    Objects of any class may be *described* (opcodes NEWOBJ and BUILD): their classes are not in the file, so there is
    nothing in it that could be run.

    Attributes:
        refused: the names of functions that were to be called.

    Example:
        >>> calls = Calls({"builtins.set": set})
        >>> calls(Name("builtins", "set"), ([1],)), calls(Name("os", "system"), ("ls",)).arguments, calls.refused
        ({1}, ('ls',), ['os.system'])
    """

    def __init__(self, values: Mapping[str, Callable[..., Any]]) -> None:
        self._values = values
        self.refused: list[str] = []

    def __call__(self, maker: object, arguments: tuple[Any, ...]) -> Any:
        """Return what stands for `maker(*arguments)`."""
        if str(maker) in self._values and isinstance(maker, Name):
            return self._values[str(maker)](*arguments)
        if not (isinstance(maker, Name) and _is_described(maker)):
            self.refuse(str(maker) if isinstance(maker, Name) else "what another call returned")
        return Record(maker, arguments)

    def refuse(self, name: str) -> None:
        """Note that the file asked for something which only harmful files ask for."""
        if printable(name) not in self.refused:
            self.refused.append(printable(name))


def _is_described(name: Name) -> bool:
    is_class = name.qualified.rpartition(".")[2][:1].isupper()
    return str(name) in DESCRIBED or (is_class and name.module.partition(".")[0] in PACKAGES)
