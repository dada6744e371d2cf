"""The finished runs of a sweep: which settings tell them apart, and their scores over seeds."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm_data.errors import VlmDataError
from vlm_eval.many_runs.seeds import SeedScore, main_columns, seed_scores
from vlm_eval.report.findings import Findings
from vlm_eval.run_files import read_run
from vlm_eval.score_table import ID, MEAN
from vlm_eval.scores import Scoring, score_tables
from vlm_eval.summary import summary_table
from vlm_finetune.grid import Point
from vlm_finetune.recipe import Recipe
from vlm_finetune.run import DONE

_QUICK = Scoring(metrics=("accuracy", "ece", "nll"), resamples=0)
"""The spread of a sweep is that over seeds; NLL breaks ties when an alpha is chosen."""


@dataclasses.dataclass(frozen=True)
class SweepGroup:
    """Runs that differ in nothing but their seed.

    Attributes:
        name: of the group.
        settings: values of the settings that vary in the sweep, by `TABLE.KEY`; None where a method has no such one.
        runs: finished ones, by seed.
        scores: over them; empty if there are none.
        facets: label of the column that stands for ID data and for every group of shifts, by `id`, `natural`, ...
        shown: labels of the columns of a short table.
    """

    name: str
    settings: Mapping[str, Any]
    runs: tuple[Path, ...] = ()
    scores: tuple[SeedScore, ...] = ()
    facets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shown: tuple[str, ...] = ()

    def score(self, model: str, facet: str, metric: str) -> SeedScore | None:
        """Return the score of a model on ID data or the mean of a group of shifts, None if it is not known."""
        column = self.facets.get(facet)
        wanted = (model, column, metric)
        return next((score for score in self.scores if (score.model, score.column, score.metric) == wanted), None)


def read_sweep(points: Sequence[Point], recipes: Mapping[str, Recipe], out: str | os.PathLike[str]) -> list[SweepGroup]:
    """Read the scores of all runs of a sweep that are finished, those of other jobs included.

    Args:
        points: all runs.
        recipes: of every run, by its name, see `vlm_finetune.grid.resolve_points`.
        out: folder of the runs.

    Raises:
        VlmError: if files of a run are damaged.
    """
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.group, []).append(point)
    settings = varied_settings({name: (members[0], recipes[members[0].name]) for name, members in groups.items()})
    found = []
    for name, members in groups.items():
        runs = tuple(path for point in members if ((path := Path(out) / point.name) / DONE).exists())
        found.append(_scored(SweepGroup(name, settings[name], runs)))
    return found


def varied_settings(groups: Mapping[str, tuple[Point, Recipe]]) -> dict[str, dict[str, Any]]:
    """Return for every group the values of the settings in which the points of a sweep differ.

    A setting that a point leaves to its recipe has the value of the recipe. Settings that no point names are left out,
    although they may differ, too: recipes of two methods do.

    Args:
        groups: a point and its recipe, by name of the group.

    Example:
        >>> from vlm_finetune.grid import grid, resolve_points
        >>> points = grid(["method.name=full,flyp", "training.epochs=1"], [0])
        >>> recipes = resolve_points(points)
        >>> varied_settings({point.group: (point, recipes[point.name]) for point in points})
        {'full-epochs=1': {'method.name': 'full'}, 'flyp-epochs=1': {'method.name': 'flyp'}}
    """
    named = (text.partition("=")[0].strip() for point, _ in groups.values() for text in point.assignments)
    values: dict[str, list[Any]] = {}
    for key in dict.fromkeys(named):
        table, _, setting = key.partition(".")
        values[key] = [recipe.tables()[table].get(setting) for _, recipe in groups.values()]
    varied = {key: found for key, found in values.items() if any(value != found[0] for value in found)}
    return {name: {key: found[place] for key, found in varied.items()} for place, name in enumerate(groups)}


def _scored(group: SweepGroup) -> SweepGroup:
    found = [_findings(run) for run in group.runs]
    if not found:
        return group
    rows = found[0].rows
    scores = seed_scores(group.name, [run.rows for run in found], [run.alpha for run in found])
    table = summary_table(rows)
    means = {column.key.rpartition("/")[2]: column.label for column in table.columns if column.group == MEAN}
    facets = {
        part: means.get(part, members[0].label) for part in (ID, *table.groups) if (members := table.members(part))
    }
    return dataclasses.replace(group, scores=tuple(scores), facets=facets, shown=tuple(main_columns(rows)))


def _findings(run: Path) -> Findings:
    files = read_run(run)
    rows = score_tables((table for table in files.tables() if table.labelled.any()), run=run, scoring=_QUICK)
    if not rows:
        raise VlmDataError(
            f"{run} is finished and has no scored predictions; expected tables in its folder `predictions`. Remove "
            f"{run / DONE} and give the command again; it writes them."
        )
    return Findings(files, rows)
