"""From a table of plain values to a frozen dataclass, with errors that name file, table and nearest key."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from vlm_finetune.errors import RecipeError

Settings = TypeVar("Settings")


def build_table(kind: type[Settings], values: Mapping[str, Any], table: str, origin: str) -> Settings:
    """Build `kind` from `values`; missing keys take their defaults, integers are accepted for floats.

    Raises:
        RecipeError: for an unknown key or a value of another type.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Probe:
        ...     lr: float = 0.1
        >>> build_table(Probe, {"lr": 1}, "probe", "r.toml")
        Probe(lr=1.0)
        >>> build_table(Probe, {"le": 1}, "probe", "r.toml")
        Traceback (most recent call last):
            ...
        vlm_finetune.errors.RecipeError: r.toml: table [probe] has no key 'le'. Did you mean 'lr'? Known: lr.
    """
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    converted = {}
    for key, value in values.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.4)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise RecipeError(f"{origin}: table [{table}] has no key {key!r}.{guess} Known: {', '.join(names)}.")
        converted[key] = _convert(value, hints[key], f"{origin}: {table}.{key}")
    return kind(**converted)


def _convert(value: Any, hint: Any, where: str) -> Any:
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{where} is {value!r}; expected a list.")
        return tuple(_convert(item, typing.get_args(hint)[0], where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise RecipeError(f"{where} is {value!r}; expected {_article(hint)}.")
    return value


def _article(hint: type) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))
