"""How libraries tell that they are working; only the app draws it."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, units done, units in all); the unit is part of the first argument."""


def silent(_stage: str, _done: int, _total: int) -> None:
    """Ignore progress; the default everywhere."""
