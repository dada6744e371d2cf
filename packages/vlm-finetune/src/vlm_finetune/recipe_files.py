"""Shipped recipes, and how recipe, assignments and flags become one recipe."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from vlm_data.errors import CallError, unknown_name
from vlm_data.files import write_text
from vlm_finetune.errors import RecipeError
from vlm_finetune.recipe import METHODS, Recipe, load_recipe, parse

Tables = Mapping[str, Any]


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes.

    Example:
        >>> "carot" in recipe_names()
        True
    """
    return sorted(entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """Return a shipped recipe as it is written.

    Raises:
        CallError: for an unknown name; the nearest is offered.
    """
    if name not in recipe_names():
        raise unknown_name("recipe", name, recipe_names(), "`--recipe` takes the path of a TOML file, too.")
    return _folder().joinpath(f"{name}.toml").read_text(encoding="utf-8")


def recipe_tables(name: str) -> dict[str, Any]:
    """Return the tables of a shipped recipe and of those it extends, without the defaults of what none of them says.

    Raises:
        CallError: for an unknown name; the nearest is offered.

    Example:
        >>> recipe_tables("carot")["method"]["name"]
        'carot'
        >>> recipe_tables("imagenet-flyp-l14")["training"]["lr"], recipe_tables("imagenet-flyp")["training"]["lr"]
        (1e-05, 1e-05)
    """
    return extended(tomllib.loads(recipe_text(name)), name)


def extended(tables: Tables, origin: str) -> dict[str, Any]:
    """Return the tables of a recipe on top of those of the shipped recipe that its key `extends` names.

    Args:
        tables: as written; without `extends` they are returned as they are.
        origin: file name for messages.

    Raises:
        RecipeError: if `extends` names no shipped recipe, or the recipe itself.

    Example:
        >>> own = extended({"extends": "flyp", "training": {"epochs": 3}}, "own.toml")
        >>> own["training"]["epochs"], own["training"]["lr"], "extends" in own
        (3, 1e-05, False)
    """
    own = {key: content for key, content in tables.items() if key != "extends"}
    if "extends" not in tables:
        return own
    base = tables["extends"]
    if base == origin or base not in recipe_names():
        guess = f" {unknown_name('recipe', str(base), recipe_names())}" if base != origin else ""
        raise RecipeError(
            f"{origin}: it extends {base!r}; expected the name of another shipped recipe, see `vlm recipes ls`.{guess}"
        )
    below = recipe_tables(base)
    return _merge(_without_other_method(below, own), own)


def recipe_chain(name: str) -> list[str]:
    """Return a shipped recipe and those it extends, nearest first.

    Example:
        >>> recipe_chain("imagenet-wise-ft-b32")
        ['imagenet-wise-ft-b32', 'imagenet-wise-ft', 'imagenet-full']
    """
    base = tomllib.loads(recipe_text(name)).get("extends")
    return [name, *(recipe_chain(base) if base else [])]


def copy_recipe(name: str, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Write a shipped recipe into a file of the user's own and return its path.

    Raises:
        CallError: for an unknown name; if the file is there and shall not be replaced, or is a folder.
        VlmError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> copy_recipe("flyp", tempfile.mkdtemp() + "/own.toml").name
        'own.toml'
    """
    target, text = Path(path), recipe_text(name)
    if target.is_dir():
        raise CallError(f"{target} is a folder; expected the name of a file. Write {target / name}.toml, for example.")
    if target.exists() and not overwrite:
        raise CallError(f"{target} is there already and was not changed. Choose another name, or pass --overwrite.")
    write_text(target, text)
    return target


def resolve(recipe: str | None = None, assignments: Sequence[str] = (), flags: Tables | None = None) -> Recipe:
    """Return the recipe of a call: defaults < recipe < assignments < flags.

    Without `recipe` the shipped recipe `DATA-METHOD` or `DATA-METHOD-SIZE` is taken if there is one for this model,
    else `METHOD`; so the same method starts from settings that suit model and data. With adapters `METHOD-lora` comes
    before `METHOD`.

    Args:
        recipe: name of a shipped recipe, or path of a TOML file (for example `recipe.toml` of a run).
        assignments: `table.key=value` with TOML values, as given to `--set`; a bare word is text.
        flags: tables of values the user named explicitly.

    Raises:
        CallError: if something is unknown or impossible.

    Example:
        >>> resolve(flags={"method": {"name": "carot"}}).training.lr
        0.002
    """
    own = _merge(*[_parse_assignment(assignment) for assignment in assignments], flags or {})
    if recipe is None:
        recipe = _default_name(own)
    is_file = recipe.endswith(".toml") or Path(recipe).is_file()
    base = extended(load_recipe(Path(recipe)), recipe) if is_file else recipe_tables(recipe)
    parse(base, recipe)  # so that a fault is looked for where it is: in the recipe, or in what was said beside it
    return parse(_merge(_without_other_method(base, own), own), f"--set and flags, with the recipe {recipe}")


def _default_name(own: Tables) -> str:
    method = METHODS.canonical(own.get("method", {}).get("name", "full"))
    wanted = (own.get("model", {}).get("spec", "tiny"), own.get("data", {}).get("name", "digits"))
    special = f"{wanted[1]}-{method}"
    for name in recipe_names():
        if name == special or name.startswith(f"{special}-"):
            shipped = parse(recipe_tables(name))
            if (shipped.model.spec, shipped.data.name, shipped.method) == (*wanted, method):
                return name
    if own.get("lora", {}).get("rank") and f"{method}-lora" in recipe_names():
        return f"{method}-lora"
    if method not in recipe_names():
        raise RecipeError(f"method {method!r} has no shipped recipe. Expected --recipe FILE with its settings.")
    return method


def _without_other_method(base: Tables, own: Tables) -> Tables:
    """Drop the method settings of a recipe when the user asks for another method."""
    wanted, given = own.get("method", {}).get("name"), base.get("method", {}).get("name", "full")
    if wanted is None or METHODS.canonical(wanted) == METHODS.canonical(given):
        return base
    return {**base, "method": {}}


def _merge(*tables: Tables) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for table in tables:
        for name, content in table.items():
            old = merged.get(name)
            merged[name] = {**old, **content} if isinstance(content, Mapping) and isinstance(old, Mapping) else content
    return merged


def _parse_assignment(assignment: str) -> Tables:
    match = re.fullmatch(r"\s*(\w+)\.(\w+)\s*=\s*(.*)", assignment, flags=re.DOTALL)
    if not match:
        raise RecipeError(
            f"--set {assignment!r} is not of the form table.key=value; write e.g. --set training.lr=1e-4."
        )
    table, key, text = match.groups()
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    value = parsed["value"] if parsed.keys() == {"value"} else text.strip()  # two lines are no value
    return {table: {key: value}}


def _folder() -> Any:
    return resources.files("vlm_finetune").joinpath("recipes")
