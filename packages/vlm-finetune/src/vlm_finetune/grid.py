"""Many runs from one recipe: every combination of some settings, with every seed."""

import dataclasses
import itertools
import re
from collections.abc import Sequence

from vlm_data.errors import CallError

_JOB = re.compile(r"(\d+)/(\d+)")
_NAMES = ("method.name", "model.spec", "data.name")
"""Settings whose values speak for themselves in the name of a run."""


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


def grid(axes: Sequence[str], seeds: Sequence[int]) -> list[Point]:
    """Return every combination of the values of all axes, with every seed; the seed changes fastest.

    Args:
        axes: `TABLE.KEY=VALUE,VALUE,...`; a value in brackets keeps its commas.
        seeds: of the training.

    Raises:
        CallError: if an axis has no value, one twice, or is named twice; if there is no seed, or one twice.

    Example:
        >>> [point.name for point in grid(["training.lr=1e-3,1e-4"], [0, 1])]
        ['lr=1e-3-seed0', 'lr=1e-3-seed1', 'lr=1e-4-seed0', 'lr=1e-4-seed1']
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise CallError(
            f"the seeds are {list(seeds)}; expected at least one and none twice, for example --seeds 0,1,2."
        )
    named = [_axis(axis) for axis in axes]
    keys = [key for key, _ in named]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise CallError(
            f"{', '.join(twice)} is varied twice; expected one --grid for each setting, with all its values."
        )
    points = []
    for values in itertools.product(*(values for _, values in named)):
        pairs = list(zip(keys, values, strict=True))
        words = [value if key in _NAMES else f"{key.rpartition('.')[2]}={value}" for key, value in pairs]
        for seed in seeds:
            name = "-".join([*(re.sub(r"[^\w.=+-]+", "_", word).strip("_") for word in words), f"seed{seed}"])
            points.append(Point(tuple(f"{key}={value}" for key, value in pairs), seed, name))
    if len({point.name for point in points}) < len(points):
        raise CallError("two runs of the sweep would have one name; expected values that differ in letters or digits.")
    return points


def _axis(axis: str) -> tuple[str, list[str]]:
    key, equals, text = axis.partition("=")
    values = [value.strip() for value in re.split(r",(?![^\[]*\])", text)]
    if not equals or "" in values or len(set(values)) < len(values):
        raise CallError(
            f"--grid {axis} does not vary a setting; expected TABLE.KEY=VALUE,VALUE, no value empty or twice, for "
            "example --grid training.lr=1e-3,1e-4."
        )
    return key.strip(), values


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
