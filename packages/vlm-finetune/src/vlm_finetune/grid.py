"""Many runs from one recipe: every combination of some settings, with every seed."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vlm_data.errors import CallError
from vlm_data.files import text_hash
from vlm_finetune.errors import RecipeError
from vlm_finetune.point_list import NAME, Setting
from vlm_finetune.recipe import Recipe
from vlm_finetune.recipe_files import resolve

_JOB = re.compile(r"(\d+)/(\d+)")
_NAMES = ("method.name", "model.spec", "data.name")
"""Settings whose values speak for themselves in the name of a run."""
SEED = "training.seed"
_LONGEST = 80
"""Characters of the name of a listed run; names of folders end at 255."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        assignments: settings that differ from the common recipe, `TABLE.KEY=VALUE`.
        seed: of the training.
        name: of the run directory, made of both.
    """

    assignments: tuple[str, ...]
    seed: int
    name: str

    @property
    def group(self) -> str:
        """Name of all runs that differ from this one in nothing but the seed; `all` if no setting is varied.

        Example:
            >>> Point((), 3, "seed3").group, Point(("training.lr=1",), 3, "lr=1-seed3").group
            ('all', 'lr=1')
        """
        return self.name.removesuffix(f"seed{self.seed}").removesuffix("-") or "all"

    def setting(self, key: str) -> str | None:
        """Return the value of one setting as it was written, None if it is left to the recipe."""
        return next((text.partition("=")[2] for text in self.assignments if text.partition("=")[0] == key), None)


def grid(axes: Sequence[str], seeds: Sequence[int], listed: Sequence[Sequence[Setting]] = ()) -> list[Point]:
    """Return every combination of the values of all axes, with every seed; the seed changes fastest.

    Args:
        axes: `TABLE.KEY=VALUE,VALUE,...`; a value in brackets keeps its commas.
        seeds: of the training.
        listed: rows of settings, see `vlm_finetune.point_list.read_points`; each is run with every combination.

    Raises:
        CallError: if an axis has no value, one twice, or is named twice, also by a row; if there is no seed, or one
            twice; if two runs would have one name.

    Example:
        >>> [point.name for point in grid(["training.lr=1e-3,1e-4"], [0, 1])]
        ['lr=1e-3-seed0', 'lr=1e-3-seed1', 'lr=1e-4-seed0', 'lr=1e-4-seed1']
        >>> [point.name for point in grid([], [0], [[("training.lr", "1e-3")], [("method.name", "flyp")]])]
        ['lr=1e-3-seed0', 'flyp-seed0']
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise CallError(
            f"the seeds are {list(seeds)}; expected at least one and none twice, for example --seeds 0,1,2."
        )
    named = [_axis(axis) for axis in axes]
    keys = [key for key, _ in named] + sorted({key for row in listed for key, _ in row} - {NAME})
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise CallError(
            f"{', '.join(twice)} is varied twice; expected one --grid for each setting, with all its values, and none "
            "for a setting of a list."
        )
    if SEED in keys:
        raise CallError(f"{SEED} is varied as a setting; expected the seeds of all runs after --seeds.")
    chosen = [[(key, value) for value in values] for key, values in named]
    points = []
    for row, combination in itertools.product(listed or [()], itertools.product(*chosen)):
        pairs = [*(setting for setting in row if setting[0] != NAME), *combination]
        words = [_name(row), *map(_word, combination)]
        for seed in seeds:
            name = "-".join([*filter(None, words), f"seed{seed}"])
            points.append(Point(tuple(f"{key}={value}" for key, value in pairs), seed, name))
    names = [point.name for point in points]
    same = sorted({name for name in names if names.count(name) > 1})
    if same:
        raise CallError(
            f"two runs of the sweep would have one name, {same[0]}; expected values, or names in a list, that differ "
            "in letters or digits."
        )
    return points


def _name(row: Sequence[Setting]) -> str:
    """Name a row by its own name, or by its settings: cut with a hash where that would be long."""
    own = dict(row).get(NAME)
    if own is not None:
        return _as_folder(own)
    name = "-".join(map(_word, row))
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}-{text_hash(name)[:8]}"


def _word(setting: Setting) -> str:
    key, value = setting
    return _as_folder(value if key in _NAMES else f"{key.rpartition('.')[2]}={value}")


def _as_folder(text: str) -> str:
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_")


def _axis(axis: str) -> tuple[str, list[str]]:
    key, equals, text = axis.partition("=")
    values = [value.strip() for value in re.split(r",(?![^\[]*\])", text)]
    if not equals or "" in values or len(set(values)) < len(values):
        raise CallError(
            f"--grid {axis} does not vary a setting; expected TABLE.KEY=VALUE,VALUE, no value empty or twice, for "
            "example --grid training.lr=1e-3,1e-4."
        )
    return key.strip(), values


def resolve_points(
    points: Sequence[Point],
    recipe: str | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Recipe]:
    """Return the recipe of every run by its name: that of `resolve` with the settings and the seed of its point.

    Args:
        points: all runs of the sweep.
        recipe: name or file of the recipe of all runs.
        assignments: settings of all runs, `TABLE.KEY=VALUE`; a point may set another value.
        flags: tables of values of all runs that the user named explicitly.

    Raises:
        CallError: if a setting is varied and named explicitly as well; if a recipe is impossible, with the name of its
            run.

    Example:
        >>> recipes = resolve_points(grid(["training.lr=1e-3,1e-4"], [7]), flags={"training": {"epochs": 1}})
        >>> [(recipe.training.lr, recipe.training.seed, recipe.training.epochs) for recipe in recipes.values()]
        [(0.001, 7, 1), (0.0001, 7, 1)]
    """
    fixed = {table: dict(keys) for table, keys in (flags or {}).items()}
    varied = sorted({text.partition("=")[0].strip() for point in points for text in point.assignments})
    both = [key for key in varied if key.partition(".")[2] in fixed.get(key.partition(".")[0], {})]
    if both:
        raise CallError(
            f"{', '.join(both)} is varied, and has a flag of its own in the call; expected one of the two, because the "
            "flag would win in every run. Leave it out."
        )
    recipes = {}
    for point in points:
        tables = {**fixed, "training": {**fixed.get("training", {}), "seed": point.seed}}
        try:
            recipes[point.name] = resolve(recipe, (*assignments, *point.assignments), tables)
        except CallError as error:
            raise RecipeError(f"{point.name} cannot be run: {error}") from error
    return recipes


def share_of_job(points: Sequence[Point], job: str) -> list[Point]:
    """Return the runs of one job of a cluster array: of `I/N` every N-th, from the I-th, counted from 1.

    Raises:
        CallError: if that is no number of a job.

    Example:
        >>> [point.seed for point in share_of_job(grid([], [0, 1, 2, 3, 4]), "2/3")]
        [1, 4]
    """
    found = _JOB.fullmatch(job)
    number, jobs = (int(part) for part in found.groups()) if found else (0, 0)
    if not 1 <= number <= jobs:
        raise CallError(f"--job {job} is no job of an array; expected I/N with I from 1 to N, for example --job 2/8.")
    return list(points[number - 1 :: jobs])
