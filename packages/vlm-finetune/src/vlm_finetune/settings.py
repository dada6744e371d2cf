"""From a table of plain values to a frozen dataclass, with errors that name file, table and nearest key."""

import dataclasses
import difflib
import math
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from vlm_finetune.errors import RecipeError

Settings = TypeVar("Settings")
Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a setting may be; kept in the metadata of its field.

    Attributes:
        holds: tells whether one value is allowed.
        expected: what is, in words.
    """

    holds: Callable[[Any], bool]
    expected: str


def within(default: Value, low: float, high: float = math.inf, *, closed: str = "[]", note: str = "") -> Value:
    """Return a field for finite numbers between `low` and `high`; in a list, for each of them.

    Args:
        default: value if the setting is not named.
        low: lower bound.
        high: upper bound.
        closed: which bounds belong to the range: `[]`, `(]`, `[)` or `()`.
        note: what a value means, for the message.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Smoothing:
        ...     share: float = within(0.0, 0, 1)
        >>> build_table(Smoothing, {"share": 2}, "smoothing", "r.toml")
        Traceback (most recent call last):
            ...
        vlm_finetune.errors.RecipeError: r.toml: smoothing.share is 2.0; expected a number in [0, 1]. Change ...
    """

    def holds(value: Any) -> bool:
        above = value > low or (closed[0] == "[" and value == low)
        return math.isfinite(value) and above and (value < high or (closed[1] == "]" and value == high))

    if high < math.inf:
        expected = f"a number in {closed[0]}{low:g}, {high:g}{closed[1]}"
    else:
        expected = f"{low:g} or more" if closed[0] == "[" else f"more than {low:g}"
    return dataclasses.field(default=default, metadata={"rule": Rule(holds, expected + note)})


def one_of(default: str, choices: Collection[str]) -> str:
    """Return a field for one of a few words."""
    return dataclasses.field(
        default=default, metadata={"rule": Rule(lambda value: value in choices, " or ".join(choices))}
    )


def build_table(kind: type[Settings], values: Mapping[str, Any], table: str, origin: str) -> Settings:
    """Build `kind` from `values`; missing keys take their defaults, integers are accepted for floats.

    Raises:
        RecipeError: for an unknown key, a value of another type or against the rule of its field, or values that do
            not go together, as `kind` itself says.

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
    rules = {field.name: field.metadata.get("rule") for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    names = list(rules)
    converted = {}
    for key, value in values.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.4)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise RecipeError(f"{origin}: table [{table}] has no key {key!r}.{guess} Known: {', '.join(names)}.")
        converted[key] = _convert(value, hints[key], f"{origin}: {table}.{key}")
        _check(converted[key], rules[key], f"{origin}: {table}.{key}")
    try:
        return kind(**converted)
    except RecipeError as error:  # two values that do not go together
        raise RecipeError(f"{origin}: {table}.{error}") from error


def _check(value: Any, rule: Rule | None, where: str) -> None:
    values = value if isinstance(value, tuple) else (value,)
    if rule and not all(rule.holds(one) for one in values):
        each = "for each " if isinstance(value, tuple) else ""
        raise RecipeError(f"{where} is {value!r}; expected {each}{rule.expected}. Change it there or by its flag.")


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
