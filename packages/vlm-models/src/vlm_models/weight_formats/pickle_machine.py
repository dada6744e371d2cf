"""Reads pickles without running them: the stack machine of the format, on which nothing is imported or called.

The standard library decodes the opcodes (`pickletools.genops`); what they mean is written here. So a call in the file
cannot become a call of the program, which a filter in front of `pickle.Unpickler` can only hope for. Long byte strings
are not copied: they stay views of the (mapped) file.
"""

import pickletools
from collections.abc import Callable
from typing import Any

from vlm_models.weight_formats.pickle_records import Calls, MalformedPickle, Name, Record, checked_key, name_of

_MOST_OPCODES = 20_000_000
"""More than any checkpoint has (about thirty per tensor), and little enough to end in a minute."""
_LONG = 1 << 16
"""Bytes from which on a view is taken in place of a copy."""
_LINE = 256
"""Bytes in which the end of a line is looked for at once."""
_NUMBERS = "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT"
_TEXTS = "STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8"
_BYTES = "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
_PUSHES = frozenset(f"{_NUMBERS} {_TEXTS} {_BYTES}".split())
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SIZES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NO_PERSISTENT = "a persistent id, which only weight files of PyTorch have"


class _Window:
    """A buffer that reads like a file, from a position on."""

    def __init__(self, buffer: memoryview, position: int) -> None:
        self._buffer, self._position = buffer, position

    def read(self, size: int) -> bytes | memoryview:
        """Return the next bytes, fewer at the end; many of them as a view."""
        part = self._buffer[self._position : self._position + size]
        self._position += len(part)
        return part if size >= _LONG else bytes(part)

    def readline(self) -> bytes:
        """Return the bytes up to the end of the line, and that too."""
        parts = []
        while not parts or (parts[-1] and not parts[-1].endswith(b"\n")):
            part = bytes(self._buffer[self._position : self._position + _LINE])
            parts.append(part[: part.find(b"\n") + 1] or part)
            self._position += len(parts[-1])
        return b"".join(parts)

    def tell(self) -> int:
        """Return the position in the buffer."""
        return self._position


def _no_persistent(_: object) -> Any:
    raise MalformedPickle(_NO_PERSISTENT)


def read_pickle(
    buffer: memoryview, position: int, calls: Calls, persistent: Callable[[Any], Any] = _no_persistent
) -> tuple[Any, int]:
    """Read one pickle, of any protocol.

    Args:
        buffer: the bytes of a file.
        position: where in it the pickle begins.
        calls: what becomes of the calls the pickle asks for.
        persistent: what becomes of its persistent ids, by which PyTorch writes the data of tensors.

    Returns:
        The value, and the position behind the pickle. Plain data is itself, all else a `Record`.

    Raises:
        MalformedPickle: if it is cut, damaged or absurd.

    Example:
        >>> import pickle
        >>> read_pickle(memoryview(pickle.dumps({"epoch": [1, 2.5]})), 0, Calls({}))[0]
        {'epoch': [1, 2.5]}
    """
    window = _Window(buffer, position)
    machine = _Machine(calls, persistent)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(window)):  # type: ignore[arg-type]
            if number > _MOST_OPCODES:
                raise MalformedPickle(f"more than {_MOST_OPCODES:,} opcodes")
            machine.step(opcode.name, argument)
        return machine.stack.pop(), window.tell()
    except MalformedPickle:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise MalformedPickle(f"{type(error).__name__} {error}") from error


class _Machine:
    def __init__(self, calls: Calls, persistent: Callable[[Any], Any]) -> None:
        self.stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._calls, self._persistent = calls, persistent

    def step(self, name: str, argument: Any) -> None:
        """Do what an opcode means; its argument is what stands behind it in the file."""
        if name in _PUSHES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _SIZES:
            self.stack.append(tuple(self._popped(_SIZES[name])))
        elif name not in ("PROTO", "FRAME", "STOP"):
            getattr(self, f"_{name.lower()}", self._unknown)(argument)

    def _unknown(self, argument: Any) -> None:
        raise MalformedPickle(f"an opcode that checkpoints do not have (argument {argument!r})")

    def _popped(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise MalformedPickle("an empty stack")
        part = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return part

    def _to_mark(self) -> list[Any]:
        part, self.stack = self.stack, self._marked.pop()
        return part

    # --- stack and memo
    def _mark(self, _: None) -> None:
        self._marked.append(self.stack)
        self.stack = []

    def _pop(self, _: None) -> None:
        self.stack.pop() if self.stack else self._to_mark()

    def _pop_mark(self, _: None) -> None:
        self._to_mark()

    def _dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def _get(self, index: int) -> None:
        self.stack.append(self._memo[index])

    def _put(self, index: int) -> None:
        self._memo[index] = self.stack[-1]

    def _memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    _binget = _long_binget = _get
    _binput = _long_binput = _put

    # --- containers
    def _empty_list(self, _: None) -> None:
        self.stack.append([])

    def _empty_dict(self, _: None) -> None:
        self.stack.append({})

    def _empty_set(self, _: None) -> None:
        self.stack.append(set())

    def _list(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(items)

    def _tuple(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(tuple(items))

    def _frozenset(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(frozenset(map(checked_key, items)))

    def _dict(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append({})
        _fill(self.stack[-1], items)

    def _append(self, _: None) -> None:
        _extend(self.stack[-2], self._popped(1))

    def _appends(self, _: None) -> None:
        items = self._to_mark()
        _extend(self.stack[-1], items)

    _additems = _appends

    def _setitem(self, _: None) -> None:
        _fill(self.stack[-3], self._popped(2))

    def _setitems(self, _: None) -> None:
        items = self._to_mark()
        _fill(self.stack[-1], items)

    # --- names and objects
    def _global(self, argument: str) -> None:
        module, _, qualified = argument.partition(" ")
        self.stack.append(name_of(module, qualified))

    def _stack_global(self, _: None) -> None:
        module, qualified = self._popped(2)
        if not (isinstance(module, str) and isinstance(qualified, str)):
            raise MalformedPickle("a class whose name is no text")
        self.stack.append(name_of(module, qualified))

    def _reduce(self, _: None) -> None:
        maker, arguments = self._popped(2)
        self.stack.append(self._calls(maker, tuple(arguments)))

    def _inst(self, argument: str) -> None:
        items = self._to_mark()
        self._global(argument)
        self.stack.append(self._calls(self.stack.pop(), tuple(items)))

    def _obj(self, _: None) -> None:
        maker, *items = self._to_mark()
        self.stack.append(self._calls(maker, tuple(items)))

    def _newobj(self, _: None) -> None:
        maker, arguments = self._popped(2)
        self.stack.append(Record(maker, tuple(arguments)))

    def _newobj_ex(self, _: None) -> None:
        maker, arguments, _keywords = self._popped(3)
        self.stack.append(Record(maker, tuple(arguments)))

    def _build(self, _: None) -> None:
        (state,) = self._popped(1)
        made = self.stack[-1]
        if isinstance(made, Record):  # of plain data and tensors attributes are of no use here
            _describe(made, state)

    def _persid(self, identity: Any) -> None:
        self.stack.append(self._persistent(identity))

    def _binpersid(self, _: None) -> None:
        self.stack.append(self._persistent(self.stack.pop()))

    def _ext1(self, code: int) -> None:
        self.stack.append(Name("copyreg", f"extension {code}"))
        self._calls.refuse(str(self.stack[-1]))

    _ext2 = _ext4 = _ext1


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, set):
        target.update(map(checked_key, items))
    elif isinstance(target, list | Record):
        (target.members if isinstance(target, Record) else target).extend(items)
    else:
        raise MalformedPickle(f"items appended to {type(target).__name__}")


def _fill(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict | Record):
        raise MalformedPickle(f"entries of {type(target).__name__}")
    entries = target.entries if isinstance(target, Record) else target
    entries.update(zip(map(checked_key, items[::2]), items[1::2], strict=True))


def _describe(made: Record, state: Any) -> None:
    """Keep a state: the attributes, or a pair of them and those in slots, or whatever the class would understand."""
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    for part in parts:
        if isinstance(part, dict):
            made.state.update(part)
    if not isinstance(state, dict):
        made.state.setdefault("__state__", state)
