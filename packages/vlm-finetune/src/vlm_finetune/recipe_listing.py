"""What shipped recipes are for: a line each, by data set, to choose from."""

import dataclasses
import fnmatch
import re
from typing import Any

from vlm_data.errors import unknown_name
from vlm_finetune.recipe import METHODS, parse
from vlm_finetune.recipe_files import recipe_names, recipe_tables

ANY = "any"
_CITATION = re.compile(r"\((\w[\w ]*? et al\. \d{4})")
_OWN = "digits"


@dataclasses.dataclass(frozen=True)
class ListedRecipe:
    """One shipped recipe.

    Attributes:
        name: as `--recipe` takes it.
        method: of fine-tuning.
        data: benchmark it is for, `any` if it names none.
        model: spec it is for, `any` if it names none.
        source: where its values come from, in full.
    """

    name: str
    method: str
    data: str
    model: str
    source: str

    @property
    def citation(self) -> str:
        """The first publication that the source names, or `own grid`."""
        found = _CITATION.search(self.source)
        return found[1] if found else "own grid"

    def facts(self) -> dict[str, Any]:
        """Return the fields by name."""
        return dataclasses.asdict(self)


def list_recipes(method: str | None = None, data: str | None = None, model: str | None = None) -> list[ListedRecipe]:
    """Return the shipped recipes that fit all that is given: for any data first, then by data set and name.

    Args:
        method: name of the method.
        data: benchmark, or a pattern with `*` and `?`; `any` for recipes that suit other data.
        model: model spec or a pattern, `any` likewise.

    Raises:
        CallError: for a method, data or model that no recipe is for; the nearest is offered.

    Example:
        >>> [found.name for found in list_recipes("carot", "imagenet")][:2]
        ['imagenet-carot', 'imagenet-carot-b32']
        >>> list_recipes("carot", "imagenet")[0].citation
        'Oh et al. 2024'
    """
    listed = sorted(map(_listed, recipe_names()), key=lambda found: (found.data != ANY, found.data, found.name))
    wanted = {"method": method and METHODS.canonical(method), "data": data, "model": model}
    for key, pattern in wanted.items():
        known = {getattr(found, key) for found in listed}
        if pattern and not fnmatch.filter(known, pattern):
            raise unknown_name(key, pattern, known, f"These are the {key} names that recipes are for.")
    return [
        found
        for found in listed
        if all(fnmatch.fnmatchcase(getattr(found, key), pattern) for key, pattern in wanted.items() if pattern)
    ]


def _listed(name: str) -> ListedRecipe:
    tables = recipe_tables(name)
    own = name.startswith(f"{_OWN}-")  # those of the embedded default say neither data nor model: both are defaults
    data = tables.get("data", {}).get("name", _OWN if own else ANY)
    model = tables.get("model", {}).get("spec", "tiny" if own else ANY)
    return ListedRecipe(name, parse(tables, name).method, data, model, tables["source"])
