"""The grammar of model specs: `FAMILY`, `FAMILY:SOURCE`, `FAMILY:SOURCE,key=value,key=value`."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlm_data.errors import CallError, unknown_name
from vlm_data.preprocess import Preprocess

_OPTION = re.compile(r"^(?P<rest>.*),(?P<key>[a-z_]+)=(?P<value>[^,=]*)$", re.DOTALL)
_MOST = 10_000
"""Pixels, ids or heads: more than any image tower or text tower has."""
PREPROCESSING_OPTIONS = ("mean", "std", "interpolation", "resize", "resize_side")
"""Understood by every family, for example `mean=0.5/0.5/0.5`, `interpolation=bilinear`, `resize_side=256`."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A model spec in its parts.

    Attributes:
        family: name of the family.
        source: what the family loads; may be empty.
        options: keys and values that followed.
    """

    family: str
    source: str
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)


def parse_spec(spec: str) -> Spec:
    """Take a model spec apart.

    Options stand at the end; a comma that no `key=` follows belongs to the source.

    Raises:
        CallError: if an option is given twice.

    Example:
        >>> parse_spec("clip:my, model.pt,activation=gelu")
        Spec(family='clip', source='my, model.pt', options={'activation': 'gelu'})
    """
    rest, options = spec, dict[str, str]()
    while found := _OPTION.match(rest):
        if found["key"] in options:
            raise CallError(f"the model spec {spec} has the option {found['key']} twice; expected it once.")
        options[found["key"]] = found["value"]
        rest = found["rest"]
    family, _, source = rest.partition(":")
    return Spec(family, source, dict(reversed(options.items())))


def saved_folder(spec: str) -> Path | None:
    """Return the folder that a spec of a saved model names, None for any other spec.

    Example:
        >>> saved_folder("run:runs/first"), saved_folder("tiny")
        (PosixPath('runs/first'), None)
    """
    parts = parse_spec(spec)
    return Path(parts.source) if parts.family in ("run", "file") and parts.source else None


def split_options(spec: Spec, known: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the options that the family understands, and those of the preprocessing.

    Raises:
        CallError: for an option neither knows; the nearest is offered.
    """
    own, common = {}, {}
    for key, value in spec.options.items():
        if key in known:
            own[key] = value
        elif key in PREPROCESSING_OPTIONS:
            common[key] = value
        else:
            raise unknown_name(f"option of {spec.family}:", key, [*known, *PREPROCESSING_OPTIONS])
    return own, common


def changed_preprocess(preprocess: Preprocess, options: Mapping[str, str]) -> Preprocess:
    """Return a preprocessing with the options of a spec applied.

    Raises:
        CallError: if a value cannot be read.

    Example:
        >>> changed = changed_preprocess(Preprocess(32), {"mean": "0/0.5/1", "resize_side": "36"})
        >>> changed.mean, changed.shorter_side
        ((0.0, 0.5, 1.0), 36)
    """
    changes: dict[str, Any] = dict(options)
    changes |= {key: _channels(key, options[key]) for key in ("mean", "std") if key in options}
    if "resize_side" in options:
        changes["resize_side"] = positive_integer(options, "resize_side")
    return dataclasses.replace(preprocess, **changes)


def _channels(key: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split("/"))
    except ValueError:
        values = ()
    if len(values) != 3 or (key == "std" and not all(value > 0 for value in values)):
        raise CallError(
            f"the option {key}={text} is not three {'positive ' * (key == 'std')}numbers; "
            f"expected {key}=RED/GREEN/BLUE, for example {key}=0.48/0.46/0.41."
        )
    return values


def positive_integer(options: Mapping[str, str], key: str) -> int | None:
    """Return the whole number an option gives, None if it was not given.

    Raises:
        CallError: for anything but a positive whole number, or one so large that it would only exhaust the memory.

    Example:
        >>> positive_integer({"image_size": "336"}, "image_size")
        336
    """
    text = options.get(key)
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise CallError(f"the option {key}={text} is not a positive whole number; write e.g. {key}=224.")
    if len(text) > 6 or int(text) > _MOST:
        raise CallError(f"the option {key}={text[:20]} is beyond all models; expected at most {_MOST}. Correct it.")
    return int(text)


def check_patches(size: int, patch: int, name: str) -> None:
    """Raise unless an image of `size` pixels falls into whole patches; the rest would be ignored without a word.

    Raises:
        CallError: names the nearest size that does.
    """
    if size % patch:
        raise CallError(
            f"image_size={size} is no multiple of the patches of {name}, {patch} pixels; the rest of an image would "
            f"be ignored. Expected one that is; write e.g. image_size={max(1, round(size / patch)) * patch}."
        )
