"""Everything a report says about a run, computed from the files of the run directory and from nothing else."""

import dataclasses
from collections.abc import Container, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from vlm_data.errors import CallError
from vlm_data.tables import Rationales
from vlm_eval.alpha_choice import AlphaChoices, alpha_choices, choose_alpha
from vlm_eval.comparing.changes import GroupBootstrap, group_bootstrap
from vlm_eval.comparing.disagreement import Disagreement, disagreements, with_means
from vlm_eval.diagnostics.spectrum_file import SPECTRA, UNIT, FeatureDiagnostics, read_diagnostics
from vlm_eval.metrics.reliability import ReliabilityTable
from vlm_eval.rationality.of_models import RationalityOfModels, rationality_of_run
from vlm_eval.rationality.rows import with_rationales
from vlm_eval.report.diagnostics import Diagnostics, diagnose, pooled_reliability
from vlm_eval.rescaling import Rescaled, fitted_temperature, fitted_temperatures
from vlm_eval.rows import Row
from vlm_eval.run_files import RunFiles, column_key
from vlm_eval.score_table import ID, Column, ScoreTable, score_table
from vlm_eval.scores import Scoring, score_tables
from vlm_eval.spurious.discovery_file import SPURIOUS, DiscoveryFile, read_discovery
from vlm_eval.spurious.mitigation import Mitigation, compare_mitigation, run_before
from vlm_eval.summary import FINE_TUNED, INTERPOLATED, ZERO_SHOT, summary_table
from vlm_eval.training_curve import TrainingCurve, training_curve


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """What the files of one run say; each attribute is computed when it is first asked for.

    Attributes:
        files: of the run directory.
        known_rows: scores of the run if the caller has them already.
        against: the run before mitigation; None takes the one whose discovery this one was fine-tuned with, if any.
    """

    files: RunFiles
    known_rows: Sequence[Row] | None = None
    against: Path | None = None

    @cached_property
    def rows(self) -> list[Row]:
        """Scores of every table that has labels."""
        if self.known_rows is not None:
            return sorted(self.known_rows, key=_order)
        method = self.files.recipe.get("method", {}).get("name")
        labelled = (table for table in self.files.tables() if table.labelled.any())
        scoring = Scoring(temperatures=fitted_temperatures(self.files.validation()))
        rows = score_tables(labelled, run=self.files.path, method=method, scoring=scoring)
        return sorted(with_rationales(rows, self.rationales), key=_order)

    @cached_property
    def rationales(self) -> list[Rationales]:
        """Where relevance lay on the test sets; empty if nobody has judged that."""
        return list(self.files.rationales())

    @cached_property
    def rationality(self) -> RationalityOfModels | None:
        """Whether the answers of the models rest on the evidence; None without rationales."""
        ends = {ZERO_SHOT: 0.0, FINE_TUNED: 1.0}
        between = {} if self.alpha in ends.values() else {INTERPOLATED: self.alpha}
        return rationality_of_run(self.rationales, ends | between)

    @cached_property
    def discovery(self) -> DiscoveryFile | None:
        """The clusters that were discovered; None if nobody has looked."""
        return read_discovery(self.files.path / SPURIOUS)

    @cached_property
    def before(self) -> Path | None:
        """The run this one is told to improve."""
        return self.against or run_before(self.files)

    @cached_property
    def mitigation(self) -> Mitigation | None:
        """This run beside the one before; None without one.

        Raises:
            CallError: if the run before was asked for and does not compare.
        """
        if self.before is None:
            return None
        try:
            return compare_mitigation(self.before, self.files)
        except CallError:
            if self.against:
                raise
            return None  # nobody asked: a run on other images than the one before it has a report all the same

    @cached_property
    def unlabelled(self) -> list[str]:
        """Data sets that were predicted but cannot be scored."""
        scored = {row["data"] for row in self.rows}
        return sorted({table.meta["data"] for table in self.files.tables(0.0)} - scored)

    @cached_property
    def alpha(self) -> float:
        """The chosen alpha: as the recipe says, or the best on ID validation if the recipe asks for that."""
        settings = self.files.recipe.get("evaluation", {})
        if settings.get("choose_alpha") and any(row["split"] == "val" and row["role"] == ID for row in self.rows):
            return choose_alpha(self.rows)
        return float(settings.get("alpha", 0.5))

    @cached_property
    def table(self) -> ScoreTable:
        """All alphas on the test sets."""
        return score_table(row for row in self.rows if row["alpha"] is not None)

    @cached_property
    def summary(self) -> ScoreTable:
        """The zero-shot, the fine-tuned and the interpolated model on the test sets."""
        return summary_table(self.rows, self.alpha)

    @cached_property
    def spectra(self) -> list[FeatureDiagnostics]:
        """Geometry of the features of the fine-tuned and the zero-shot model; empty if nobody has diagnosed the run."""
        return read_diagnostics(self.files.path / SPECTRA[UNIT])

    @cached_property
    def curve(self) -> TrainingCurve | None:
        """The training, or None without a log."""
        return training_curve(self.files.events)

    @cached_property
    def resampled(self) -> dict[tuple[str, str], GroupBootstrap]:
        """Resampled scores by model and group, for paired differences."""
        found = {}
        for model, details in self._details.items():
            for group, keys in self._group_keys(details).items():
                resampled = group_bootstrap([part.outcomes for part in details[key]] for key in keys)
                if resampled:
                    found[model, group] = resampled
        return found

    @cached_property
    def temperatures(self) -> dict[str, float]:
        """Temperature of each model, fitted on ID validation; empty without a validation table."""
        found = {}
        for model, alpha in self._models.items():
            for table in self.files.tables(alpha, "val"):
                temperature = fitted_temperature(table) if table.meta.get("role", ID) == ID else None
                if temperature is not None:
                    found[model] = temperature
        return found

    def calibration(self, model: str) -> dict[str, Rescaled]:
        """Return calibration before and after temperature scaling by group: ID, then groups of shifts."""
        details = self._details[model]
        parts = {key: [part.rescaled for part in found if part.rescaled] for key, found in details.items()}
        means = {key: Rescaled.mean(members) for key, members in parts.items() if members}
        return {group: Rescaled.mean([means[key] for key in keys]) for group, keys in self._group_keys(means).items()}

    @cached_property
    def choices(self) -> AlphaChoices:
        """The fixed alpha, the one chosen on ID validation, and the oracle of every test set, apart from both."""
        return alpha_choices(self.rows, float(self.files.recipe.get("evaluation", {}).get("alpha", 0.5)))

    @cached_property
    def differences(self) -> list[Disagreement]:
        """How zero-shot and fine-tuned model answer differently; empty unless both are there."""
        return with_means(disagreements(*map(self.files.tables, (0.0, 1.0, self.alpha))))

    @cached_property
    def worst_shift(self) -> Column | None:
        """The natural shift (any shift if there is none) with the lowest fine-tuned accuracy."""
        tuned = next((line for line in self.summary.lines if line.model == FINE_TUNED), None)
        groups = self.summary.groups
        columns = self.summary.members("natural" if "natural" in groups else "all")
        scored = [c for c in columns if tuned and "accuracy" in tuned.cells.get(c.key, {})]
        return min(scored, key=lambda c: tuned.cells[c.key]["accuracy"].value) if tuned and scored else None

    def reliability(self, column: Column) -> dict[str, ReliabilityTable]:
        """Return the reliability table of every model on one data set; a corruption pools its severities."""
        found = {model: details.get(column.key, []) for model, details in self._details.items()}
        return {
            model: pooled_reliability([part.reliability for part in parts]) for model, parts in found.items() if parts
        }

    @cached_property
    def _details(self) -> dict[str, dict[str, list[Diagnostics]]]:
        """By model and column; every table of the three models is read once."""
        found: dict[str, dict[str, list[Diagnostics]]] = {}
        for model, alpha in self._models.items():
            for table in self.files.tables(alpha):
                if table.labelled.any():
                    parts = found.setdefault(model, {}).setdefault(column_key(table), [])
                    parts.append(diagnose(table, self.temperatures.get(model)))
        return found

    @property
    def _models(self) -> dict[str, float]:
        wanted = {ZERO_SHOT: 0.0, FINE_TUNED: 1.0, INTERPOLATED: self.alpha}
        return {line.model: wanted[line.model] for line in self.summary.lines}

    def _group_keys(self, known: Container[str]) -> dict[str, list[str]]:
        """Column keys by group, for the groups that are known as a whole."""
        keys = {group: [c.key for c in self.summary.members(group)] for group in (ID, *self.summary.groups)}
        return {group: found for group, found in keys.items() if found and all(key in known for key in found)}


def _order(row: Row) -> tuple[Any, ...]:
    """The same order whether rows come from the sweep or from the files, so that both give the same report."""
    return row["alpha"] or 0.0, row["split"], row["data"], row["severity"] or 0
