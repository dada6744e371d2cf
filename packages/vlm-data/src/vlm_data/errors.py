"""Errors of the house: every message says what is wrong, what was expected and what to do."""

import difflib
from collections.abc import Iterable, Sequence

_LISTED = 24
"""So many names still make a sentence that is read."""


class VlmError(Exception):
    """Base of all errors a user can cause or repair; `exit_code` is what the command line returns."""

    exit_code = 1


class CallError(VlmError):
    """The call itself was wrong: an unknown name, an impossible combination, an invalid value."""

    exit_code = 2


class VlmDataError(VlmError):
    """Something on disk is not what the readers expect."""


class DataLayoutError(VlmDataError):
    """Folders, columns or splits are missing or contradict each other."""


class UnreadableImageError(VlmDataError):
    """A file that should be an image cannot be decoded."""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> CallError:
    """Build the error for a name that does not exist, offering the nearest valid one; capitals do not matter.

    Of more than 24 known names the eight nearest are listed.

    Args:
        kind: what the name stands for, for example `"method"`.
        name: what the user wrote.
        known: all valid names.
        hint: one more sentence, for example the command that lists them.

    Example:
        >>> str(unknown_name("method", "flypp", ["flyp", "carot"]))
        "unknown method 'flypp'. Did you mean 'flyp'? Known: carot, flyp."
    """
    names = sorted(known)
    lowered = {known_name.lower(): known_name for known_name in names}
    near = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=8, cutoff=0.5)]
    guess = f" Did you mean {near[0]!r}?" if near else ""
    shown = names if len(names) <= _LISTED else near or names[:8]
    rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    listed = f" Known: {', '.join(shown)}{rest}." if names else ""
    return CallError(f"unknown {kind} {name!r}.{guess}{listed}{' ' + hint if hint else ''}")


def listing(names: Sequence[object], most: int = 5) -> str:
    """Return the first names, quoted, and how many more there are: for messages about many things.

    Example:
        >>> listing(["a", "b", "c"], most=2)
        "'a', 'b' and 1 more"
    """
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
