"""Whether runs differ by more than chance: paired tests on the same images, over several seeds where there are some."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from vlm_data.errors import CallError
from vlm_data.files import text_hash
from vlm_data.tables import Predictions
from vlm_eval.comparing.changes import Change, GroupBootstrap, Metric, change, group_bootstrap, outcomes
from vlm_eval.comparing.worst_groups import worst_group_change
from vlm_eval.intervals import Outcomes
from vlm_eval.run_files import RunFiles, read_run

RESAMPLES = 2000
_BESIDE_MODEL = ("evaluation", "tracking")
"""Tables of a recipe that do not change the model."""


def mcnemar(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> tuple[int, int, float]:
    """Return how many samples only the first model got right, how many only the second, and the exact p-value.

    Under the hypothesis that both are right equally often, the first number is binomial with probability one half
    among the samples on which they differ (McNemar 1947, exact and two-sided).

    Args:
        first: whether the first model was right, sample by sample.
        second: the same of the second model, in the same order.

    Raises:
        CallError: if the samples are not the same number.

    Example:
        >>> mcnemar(np.array([True] * 6), np.array([False] * 6))
        (6, 0, 0.03125)
    """
    if first.shape != second.shape:
        raise CallError(f"{first.shape} and {second.shape} answers cannot be paired; expected the same samples.")
    from scipy.stats import binomtest  # here, because every report imports this module, and few test anything

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    apart = only_first + only_second
    return only_first, only_second, float(binomtest(only_first, apart).pvalue) if apart else 1.0


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """One group of runs against another on one data set or the mean of several, fractions.

    Attributes:
        data: name of the data set, or of the mean.
        group: `natural`, `corruption`, or empty for ID data.
        n: samples.
        seeds: runs on each side.
        accuracy: of both, with an interval of the difference over samples and seeds.
        ece: likewise.
        p_value: of McNemar's exact test; None for means, and for several seeds, whose answers are not independent.
        worst_group: accuracy of the worst group, see `vlm_eval.comparing.worst_groups`; None for means, for
            corruptions, and where the data tell no groups.
    """

    data: str
    group: str
    n: int
    seeds: tuple[int, int]
    accuracy: Change
    ece: Change
    p_value: float | None
    worst_group: Change | None = None


@dataclasses.dataclass(frozen=True)
class RunGroup:
    """Runs that differ in nothing but their seed.

    Attributes:
        name: what tells the group from others: its method, and the settings in which groups of one method differ.
        runs: the runs, by seed.
        alpha: weight of the fine-tuned model whose predictions are compared.
    """

    name: str
    runs: tuple[RunFiles, ...]
    alpha: float = 1.0

    def tables(self) -> dict[str, list[Predictions]]:
        """Return the tables of every data set, one per run.

        Raises:
            CallError: if a run has none for this alpha.
        """
        found: dict[str, list[Predictions]] = {}
        for run in self.runs:
            tables = list(run.tables(self.alpha))
            if not tables:
                raise missing_alpha(run, self.alpha)
            for table in tables:
                found.setdefault(table.meta["data"], []).append(table)
        return {data: tables for data, tables in found.items() if len(tables) == len(self.runs)}


def missing_alpha(run: RunFiles, alpha: float) -> CallError:
    """Return the error that says that a run has no predictions at an alpha."""
    return CallError(
        f"{run.path} has no predictions at alpha {alpha:g}; expected one of the alphas of its recipe. "
        "Give the `vlm finetune` command again, or another --alpha."
    )


def group_runs(folders: Iterable[str | os.PathLike[str]], alpha: float = 1.0) -> list[RunGroup]:
    """Sort run directories into groups that differ in nothing but their seeds, in the order of first appearance.

    Raises:
        CallError: if a run is named twice.
        VlmFinetuneError: if a folder is no run.
    """
    groups: dict[str, list[RunFiles]] = {}
    for run in map(read_run, folders):
        members = groups.setdefault(_settings_hash(run.recipe), [])
        if any(other.path == run.path for other in members):
            raise CallError(f"{run.path} is named twice; expected every run once.")
        members.append(run)
    names = recipe_names([members[0].recipe for members in groups.values()])
    return [RunGroup(name, tuple(members), alpha) for name, members in zip(names, groups.values(), strict=True)]


def _settings_hash(recipe: Mapping[str, Any]) -> str:
    """Return a hash of everything in a recipe but seeds and what does not change the model."""
    kept = {
        name: dict(table) for name, table in recipe.items() if isinstance(table, Mapping) and name not in _BESIDE_MODEL
    }
    for table in ("data", "training"):
        kept.get(table, {}).pop("seed", None)
    return text_hash(json.dumps(kept, sort_keys=True, default=str))


def recipe_names(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name each recipe by its method, and by the settings in which recipes of one method differ; seeds do not count.

    Example:
        >>> recipe_names([{"method": {"name": "full"}, "training": {"lr": rate, "seed": 3}} for rate in (0.1, 0.2)])
        ['full training.lr=0.1', 'full training.lr=0.2']
    """
    flat = [
        {f"{table}.{key}": value for table, keys in recipe.items() if isinstance(keys, Mapping)
         for key, value in keys.items() if key != "seed" and table not in _BESIDE_MODEL}
        for recipe in recipes
    ]  # fmt: skip
    methods = [str(values.get("method.name", "full")) for values in flat]
    names = []
    for method, values in zip(methods, flat, strict=True):
        peers = [other for name, other in zip(methods, flat, strict=True) if name == method]
        apart = sorted(key for key in values if len({repr(peer.get(key)) for peer in peers}) > 1)
        names.append(" ".join([method, *(f"{key}={values[key]}" for key in apart)]))
    return names


def compare_groups(first: RunGroup, second: RunGroup, *, resamples: int = RESAMPLES) -> list[PairedTest]:
    """Test two groups of runs against each other on every data set both were evaluated on, and on the means of shifts.

    A corruption is the mean over its severities. Resamples hold the same images for both sides. With several seeds a
    resample also draws seeds, for both sides the same ones if they have equally many; the interval then covers training
    once more, too.

    Args:
        first: the runs compared against.
        second: the runs that may be better.
        resamples: of the bootstrap.

    Returns:
        ID data first, then natural shifts and corruptions, each followed by their mean, and the mean over all shifts.

    Raises:
        CallError: if they share no data set, or were evaluated on different images of one name.
    """
    before, after = first.tables(), second.tables()
    shared = [data for data in before if data in after]
    if not shared:
        raise CallError(
            f"{first.name} and {second.name} were evaluated on different data: {', '.join(before)} and "
            f"{', '.join(after)}. Expected runs of one benchmark."
        )
    for data in shared:
        _check_images(data, [*before[data], *after[data]])
    # once: a data set counts in its own line and in two means
    sides = [{data: [outcomes(table) for table in tables[data]] for data in shared} for tables in (before, after)]
    seeds = len(first.runs), len(second.runs)
    tests = []
    for name, group, shifts in _entries({data: before[data][0].meta for data in shared}):
        start, end = (_side(side, shifts, resamples) for side in sides)
        one, other = (side[shifts[0][0]][0] for side in sides)
        one_set = shifts[0][0] if len(shifts) == len(shifts[0]) == 1 else None
        p_value = mcnemar(one.correct, other.correct)[2] if one_set and seeds == (1, 1) else None
        worst = worst_group_change(before[one_set], after[one_set], resamples=resamples) if one_set else None
        n = len(one.ids)
        accuracy, ece = change(start, end, "accuracy"), change(start, end, "ece")
        tests.append(PairedTest(name, group, n, seeds, accuracy, ece, p_value, worst))
    return tests


def _check_images(data: str, tables: Sequence[Predictions]) -> None:
    if any(table.ids != tables[0].ids or not np.array_equal(table.labels, tables[0].labels) for table in tables):
        raise CallError(
            f"the runs were evaluated on different images of {data}; expected the same, in the same order. Give all "
            "runs the same --limit and the same seed of the data, --set data.seed=S."
        )


def _entries(metas: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str, list[list[str]]]]:
    """Return name, group and data sets of every line: shifts, each a list of its severities."""
    shifts: dict[tuple[str, str], list[str]] = {}
    for data, meta in metas.items():
        severity = meta.get("severity", "")
        name = data.removesuffix(f"-{severity}") if int(severity or 0) else data
        shifts.setdefault((meta.get("group", ""), name), []).append(data)
    lines = [(name, group, [members]) for (group, name), members in shifts.items()]
    found = [line for line in lines if not line[1]]
    several: list[list[str]] = []
    for group, label in (("natural", "mean of natural shifts"), ("corruption", "mean of corruptions")):
        members = sorted(line for line in lines if line[1] == group)
        found += members
        sets = [line[2][0] for line in members]
        several += sets
        if len(sets) > 1:
            found.append((label, group, sets))
    return [*found, ("mean of all shifts", "", several)] if len(several) > 1 else found


def _side(side: Mapping[str, Sequence[Outcomes]], shifts: Sequence[Sequence[str]], resamples: int) -> GroupBootstrap:
    """Return the bootstrap of one side of a line, over images and seeds."""
    found = [
        group_bootstrap([[side[data][seed] for data in members] for members in shifts], resamples=resamples)
        for seed in range(len(side[shifts[0][0]]))
    ]
    return over_seeds([one for one in found if one is not None])


def over_seeds(runs: Sequence[GroupBootstrap]) -> GroupBootstrap:
    """Return the bootstrap of the mean over runs, drawing runs as well as images; the draw depends on their number."""
    resamples = len(runs[0].accuracy)
    drawn = np.random.default_rng(len(runs)).integers(0, len(runs), (resamples, len(runs)))
    rows = np.arange(resamples)[:, None]

    def mean(metric: Metric) -> np.ndarray:
        return np.stack([getattr(run, metric) for run in runs], axis=1)[rows, drawn].mean(axis=1)

    observed = {name: float(np.mean([run.observed[name] for run in runs])) for name in runs[0].observed}
    return GroupBootstrap(mean("accuracy"), mean("ece"), observed)
