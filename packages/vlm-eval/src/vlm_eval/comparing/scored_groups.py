"""Groups of runs with their scores at every alpha: means over seeds, with intervals where a model is marked."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Predictions
from vlm_eval.comparing.changes import GroupBootstrap, group_bootstrap, mean_bootstrap, outcomes
from vlm_eval.comparing.paired import RunGroup, missing_alpha, over_seeds
from vlm_eval.intervals import Outcomes, clopper_pearson
from vlm_eval.rescaling import fitted_temperatures
from vlm_eval.run_files import RunFiles, column_key
from vlm_eval.score_table import ALL_SHIFTS, ID, MEAN, Column, Line, Score, ScoreTable, score_table
from vlm_eval.scores import Scoring, score_tables

RESAMPLES = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredGroup:
    """Runs that differ in nothing but their seed, scored.

    Attributes:
        name: of the group.
        tables: scores of every run, a line per alpha.
        marked: alphas whose scores have intervals: both ends and the one that is compared.
        outcomes: of every run by (alpha, column key), a table per severity, for the marked alphas.
    """

    name: str
    tables: tuple[ScoreTable, ...]
    marked: tuple[float, ...]
    outcomes: tuple[Mapping[tuple[float, str], Sequence[Outcomes]], ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Data sets and means over shifts; all runs have the same."""
        return self.tables[0].columns

    @cached_property
    def alphas(self) -> tuple[float, ...]:
        """The weights at which every run was scored, ascending."""
        found = [{line.alpha for line in table.lines if line.alpha is not None} for table in self.tables]
        return tuple(sorted(set.intersection(*found)))

    def members(self, key: str) -> list[str]:
        """Return the data sets a column is the mean of: itself, those of `mean/GROUP`, or those with the role `id`."""
        table = self.tables[0]
        group = key.removeprefix(f"{MEAN}/") if key.startswith(f"{MEAN}/") else key
        found = [column.key for column in table.members(group)] if group in (ID, ALL_SHIFTS, *table.groups) else []
        return found or [key]

    def values(self, alpha: float, key: str, metric: str) -> list[float] | None:
        """Return a metric of every run; `id` stands for the ID data. None where a run lacks it."""
        found = [_value(table, alpha, key, metric) for table in self.tables]
        known = [value for value in found if value is not None]
        return known if len(known) == len(found) else None

    def score(self, alpha: float, key: str, metric: str) -> Score | None:
        """Return the mean of a metric over the runs, at marked alphas with an interval over images and seeds.

        Accuracy of one run on one data set has the exact Clopper-Pearson interval; other accuracies and ECE come from
        resamples. Other metrics have none.
        """
        values = self.values(alpha, key, metric)
        if values is None:
            return None
        mean = math.fsum(values) / len(values)
        sets = self.members(key)
        if metric == "accuracy" and len(self.tables) == len(sets) == 1:
            parts = self.outcomes[0].get((alpha, sets[0]), ())
            if len(parts) == 1:
                return Score(mean, *clopper_pearson(int(parts[0].correct.sum()), len(parts[0].ids)))
        drawn = self.resampled(alpha, key) if metric in ("accuracy", "ece") else None
        if drawn is None:
            return Score(mean)
        low, high = np.quantile(getattr(drawn, metric), [0.025, 0.975])
        if metric == "ece":  # resampled ECE is too high: the basic interval takes that out, see `Bootstrap.interval`
            low, high = np.clip([2 * mean - high, 2 * mean - low], 0, 1)
        return Score(mean, float(low), float(high))

    def resampled(self, alpha: float, key: str) -> GroupBootstrap | None:
        """Return accuracy and ECE of resampled images and seeds; equal draws for all models on the same images."""
        sets = self.members(key)
        if not all((alpha, data) in run for run in self.outcomes for data in sets):
            return None
        runs = [mean_bootstrap([self._draw(run, alpha, data) for data in sets]) for run in range(len(self.outcomes))]
        return over_seeds(runs)

    def _draw(self, run: int, alpha: float, data: str) -> GroupBootstrap:
        """Resample one data set of one run; kept, because it counts in its own column and in means."""
        place = run, alpha, data
        if place not in self._drawn:
            drawn = group_bootstrap([self.outcomes[run][alpha, data]], resamples=RESAMPLES)
            if drawn is None:
                raise VlmDataError(f"there is nothing to resample on {data}; expected at least one data set.")
            self._drawn[place] = drawn
        return self._drawn[place]

    @cached_property
    def _drawn(self) -> dict[tuple[int, float, str], GroupBootstrap]:
        return {}

    def samples(self, key: str) -> int:
        """Return how many images the smallest data set of a column has; severities of a corruption share theirs."""
        found = [
            len(part.ids)
            for (_, data), parts in self.outcomes[0].items()
            if data in self.members(key)
            for part in parts
        ]
        return min(found, default=0)


def score_group_of_runs(group: RunGroup, every_alpha: bool = True) -> ScoredGroup:
    """Score the runs of a group from their tables of predictions.

    Marked are alpha 0, 1, that of the group, and that of the recipe, as far as the runs have them.

    Args:
        group: runs that differ in nothing but their seed.
        every_alpha: score all alphas; otherwise only the marked ones, which is much faster.

    Raises:
        CallError: if a run lacks the alpha of the group, or its runs were evaluated on different data sets.
        VlmDataError: if a table is damaged or cannot be scored.
    """
    wanted = sorted({0.0, group.alpha, mixed_alpha(group), 1.0})
    scored = [_scored(run, wanted, every_alpha) for run in group.runs]
    for (table, _), run in zip(scored, group.runs, strict=True):
        if group.alpha not in {line.alpha for line in table.lines}:
            raise missing_alpha(run, group.alpha)
        if table.columns != scored[0][0].columns:
            raise CallError(
                f"{run.path} and {group.runs[0].path} differ in nothing but their seed, yet were evaluated on "
                "different data sets. Finish both runs, or compare them without one another."
            )
    marked = [a for a in wanted if all(a in {line.alpha for line in table.lines} for table, _ in scored)]
    return ScoredGroup(
        group.name, tuple(table for table, _ in scored), tuple(marked), tuple(found for _, found in scored)
    )


def mixed_alpha(group: RunGroup) -> float:
    """Return the weight of the interpolated model: that of the group, or of the recipe if the group compares an end."""
    settings = group.runs[0].recipe.get("evaluation", {})
    return group.alpha if 0 < group.alpha < 1 else float(settings.get("alpha", 0.5))


_Found = dict[tuple[float, str], list[Outcomes]]


def _scored(run: RunFiles, marked: Sequence[float], every_alpha: bool) -> tuple[ScoreTable, _Found]:
    found: _Found = {}

    def noted(tables: Iterable[Predictions]) -> Iterable[Predictions]:
        for table in tables:
            alpha = round(float(table.meta.get("alpha") or 0), 6)
            if table.meta.get("split") != "test" or not table.labelled.any():
                continue
            if alpha in marked:
                found.setdefault((alpha, column_key(table)), []).append(outcomes(table))
            yield table

    chosen = run.tables() if every_alpha else (table for alpha in marked for table in run.tables(alpha))
    scoring = Scoring(resamples=0, temperatures=fitted_temperatures(run.validation()))
    return score_table(score_tables(noted(chosen), run=run.path, scoring=scoring)), found


def _value(table: ScoreTable, alpha: float, key: str, metric: str) -> float | None:
    line: Line | None = next((one for one in table.lines if one.alpha == alpha), None)
    if line is None:
        return None
    cell = table.mean(line, ID) if key == ID else line.cells.get(key)
    return cell[metric].value if cell and metric in cell else None


def halfway_inside(share: Float64[np.ndarray, " n"], samples: int) -> Float64[np.ndarray, " n"]:
    """Return accuracies with 0 and 1 moved half a sample inside, where they have a logit.

    Example:
        >>> halfway_inside(np.array([0.0, 0.5, 1.0]), 100)
        array([0.005, 0.5  , 0.995])
    """
    return np.clip(share, 0.5 / samples, 1 - 0.5 / samples)
