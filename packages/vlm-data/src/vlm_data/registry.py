"""Finding plug-ins by file name: one module of a package, or one entry point, is one choice."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from vlm_data.errors import unknown_name


@dataclasses.dataclass(frozen=True)
class Registry:
    """The names of one kind of thing, and how to import one of them.

    Listing imports nothing but the package itself; loading imports one module.
    Third parties add names through entry points of the group `package`. Underscores in file names read as hyphens.

    Attributes:
        package: import path of the package whose modules are the choices, for example `vlm_finetune.methods`.
        kind: what users call such a thing, for messages.
        aliases: further names and what they stand for.

    Example:
        >>> {"csv", "digits"} <= set(Registry("vlm_data.datasets", "data set").names())
        True
    """

    package: str
    kind: str
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.package)}

    @cached_property
    def _modules(self) -> dict[str, str]:
        found = pkgutil.iter_modules(importlib.import_module(self.package).__path__)
        return {module.name.replace("_", "-"): module.name for module in found if not module.name.startswith("_")}

    def names(self) -> list[str]:
        """Return all names, sorted, without aliases."""
        return sorted({*self._modules, *self._entry_points})

    def canonical(self, name: str) -> str:
        """Return the name an alias stands for.

        Raises:
            CallError: if there is no such name; the nearest valid one is offered.
        """
        resolved = self.aliases.get(name, name)
        if resolved not in self._modules and resolved not in self._entry_points:
            raise unknown_name(self.kind, name, [*self.names(), *self.aliases])
        return resolved

    def load(self, name: str) -> ModuleType:
        """Import the module of a name (or alias)."""
        resolved = self.canonical(name)
        if resolved in self._modules:
            return importlib.import_module(f"{self.package}.{self._modules[resolved]}")
        return self._entry_points[resolved].load()
