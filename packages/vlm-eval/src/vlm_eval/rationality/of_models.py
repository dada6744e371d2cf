"""What the rationales of several models say: scores on every data set, tests against the first, curves, severities."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from functools import cached_property

from vlm_data.errors import CallError
from vlm_data.tables import Rationales
from vlm_eval.metrics.rationality import Share
from vlm_eval.metrics.rationality_curve import ThresholdCurve
from vlm_eval.rationality.comparison import RationaleTest, compare_models, differing_settings
from vlm_eval.rationality.curve import threshold_curve
from vlm_eval.rationality.samples import settings
from vlm_eval.rationality.scores import RationaleScores, mean_over_severities, score_rationales
from vlm_eval.run_files import column_key

_GROUPS = ("", "natural", "corruption")


@dataclasses.dataclass(frozen=True, eq=False)
class RationalityOfModels:
    """Models with names, and the tables of the data sets that all of them have.

    Attributes:
        tables: by model, then by data set; a corruption has one table per severity.
    """

    tables: Mapping[str, Mapping[str, tuple[Rationales, ...]]]

    @property
    def columns(self) -> dict[str, str]:
        """Data sets and their groups: ID data first, then natural shifts, then corruptions."""
        first = next(iter(self.tables.values()))
        groups = {column: parts[0].meta.get("group", "") for column, parts in first.items()}
        return dict(sorted(groups.items(), key=lambda one: _GROUPS.index(one[1]) if one[1] in _GROUPS else 3))

    @property
    def main(self) -> str:
        """The data set that is told in full: ID data where there is some."""
        return next(iter(self.columns))

    @cached_property
    def scores(self) -> dict[str, dict[str, RationaleScores]]:
        """Scores by model and data set; a corruption is the mean over its severities."""
        return {
            model: {
                column: mean_over_severities(parts)
                if parts[0].meta.get("severity", "0") not in ("", "0")
                else score_rationales(parts[0])
                for column, parts in columns.items()
            }
            for model, columns in self.tables.items()
        }

    @cached_property
    def tests(self) -> dict[str, dict[str, RationaleTest]]:
        """Paired tests against the first model, by name of the other and data set."""
        if len(self.tables) < 2:
            return {}
        every = {model: [one for parts in columns.values() for one in parts] for model, columns in self.tables.items()}
        return {model: {test.data: test for test in tests} for model, tests in compare_models(every).items()}

    @property
    def rule(self) -> tuple[str, float | None]:
        """Measure and threshold of the rule that all tables were judged by; mass and None where they differ."""
        rules = {one.meta.get("rule", "") for columns in self.tables.values() for p in columns.values() for one in p}
        measure, _, number = rules.pop().partition(">=") if len(rules) == 1 else ("", "", "")
        try:
            return measure.strip(), float(number)
        except ValueError:
            return "mass", None

    @cached_property
    def curves(self) -> dict[str, ThresholdCurve]:
        """Curve of each model on the main data set, over the measure of the rule; empty without that measure."""
        measure = self.rule[0]
        tables = {model: columns[self.main][0] for model, columns in self.tables.items()}
        return {model: threshold_curve(one, measure) for model, one in tables.items() if measure in one.measures}

    def severities(self, share: Share) -> dict[str, dict[int, float]]:
        """Return a share by model and severity, mean over corruptions; severity 0 is the ID data.

        A severity at which it is undefined for one of the corruptions is left out; no corruption, nothing.
        """
        corruptions = [column for column, group in self.columns.items() if group == "corruption"]
        found: dict[str, dict[int, float]] = {}
        for model, columns in self.tables.items() if corruptions else ():
            values: dict[int, list[float]] = {}
            clean = [column for column, group in self.columns.items() if not group][:1]
            for table in (one for column in (*clean, *corruptions) for one in columns[column]):
                score = score_rationales(table).shares[share]
                values.setdefault(int(table.meta.get("severity") or 0), []).append(score.value if score else math.nan)
            means = {severity: math.fsum(known) / len(known) for severity, known in values.items()}
            found[model] = {severity: mean for severity, mean in means.items() if not math.isnan(mean)}
        return {model: values for model, values in found.items() if len(values) > 1}

    @property
    def differing(self) -> tuple[str, ...]:
        """Settings that are not the same for all models, as `name: value of each`."""
        found = {model: settings(columns[self.main][0].meta) for model, columns in self.tables.items()}
        names = sorted({name for one in found.values() for name in one})
        values = {name: [one.get(name, "not told") for one in found.values()] for name in names}
        return tuple(f"{name}: {', '.join(told)}" for name, told in values.items() if len(set(told)) > 1)

    @property
    def shared(self) -> dict[str, str]:
        """Settings that are the same for all models."""
        first, *others = [settings(columns[self.main][0].meta) for columns in self.tables.values()]
        return {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}


def rationality_of_run(tables: Iterable[Rationales], alphas: Mapping[str, float]) -> RationalityOfModels | None:
    """Return the rationales of the models of a run on the data sets that all of them have.

    Args:
        tables: of one split, of any alphas; without labelled evidence they are passed over.
        alphas: weight of the fine-tuned model in each model, by its name; the first is what others are tested against.

    Returns:
        None if there is no such table.
    """
    known = [table for table in tables if table.meta.get("alpha")]
    models = {
        model: [table for table in known if math.isclose(float(table.meta["alpha"]), alpha, abs_tol=1e-6)]
        for model, alpha in alphas.items()
    }
    return rationality_of_models({model: found for model, found in models.items() if found})


def rationality_of_models(models: Mapping[str, Iterable[Rationales]]) -> RationalityOfModels | None:
    """Return the rationales of models on the data sets that all of them have.

    Args:
        models: tables of one split by name of the model; the first is what others are tested against. Tables without
            labelled evidence are passed over.

    Returns:
        None if there is no such data set.

    Raises:
        CallError: if a model has two tables of one data set.
    """
    found: dict[str, dict[str, list[Rationales]]] = {}
    for model, tables in models.items():
        columns = found.setdefault(model, {})
        for table in tables:
            if (table.known & table.labelled).any():
                parts = columns.setdefault(column_key(table), [])
                _require_new(table, parts, model)
                parts.append(table)
    # A column counts where every model has it with as many severities: means over fewer do not compare.
    shared = [
        column
        for column, parts in next(iter(found.values()), {}).items()
        if all(len(columns.get(column, ())) == len(parts) for columns in found.values())
    ]
    if not shared:
        return None
    return RationalityOfModels({m: {c: tuple(columns[c]) for c in shared} for m, columns in found.items()})


def _require_new(table: Rationales, others: Iterable[Rationales], model: str) -> None:
    for other in others:
        if other.meta.get("data") == table.meta.get("data"):
            apart = differing_settings([other], [table])
            raise CallError(
                f"{model} has two tables of rationales on {table.meta.get('data', '?')}"
                f"{', which differ in ' + '; '.join(apart) if apart else ''}. Expected one: keep tables of one kind "
                "in a folder, and give every kind a name of its own to compare them."
            )
