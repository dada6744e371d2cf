"""Everything `vlm compare` says about runs: paired tests, robustness, calibration, and how answers differ."""

import dataclasses
from collections.abc import Container, Sequence
from typing import Any, TypeVar

from vlm_data.errors import CallError
from vlm_eval.comparing.baselines import Baselines
from vlm_eval.comparing.disagreement import MEAN_LABELS, Disagreement, disagreements, mean_over_runs, with_means
from vlm_eval.comparing.paired import PairedTest, RunGroup, compare_groups
from vlm_eval.comparing.scored_groups import ScoredGroup, mixed_alpha, score_group_of_runs
from vlm_eval.comparing.standing import Standing, baseline_fits, standings, standings_csv
from vlm_eval.metrics.robustness import BaselineFit
from vlm_eval.score_table import ID, MEAN


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Calibration of one group of runs at one alpha on one data set or mean; fractions, means over seeds.

    Attributes:
        name: of the group.
        alpha: weight of the fine-tuned model.
        data: key of the column, `id` for the ID data.
        ece: 15 bins.
        gap: ECE minus that on ID data.
        overconfidence: mean confidence minus accuracy.
        brier_calibration, brier_refinement, brier_remainder: parts of the squared error of confidence.
        nll: nats.
        temperature: fitted on ID validation; None without validation images.
        ece_rescaled, nll_rescaled: after that temperature.
    """

    name: str
    alpha: float
    data: str
    ece: float | None
    gap: float | None
    overconfidence: float | None
    brier_calibration: float | None
    brier_refinement: float | None
    brier_remainder: float | None
    nll: float | None
    temperature: float | None
    ece_rescaled: float | None
    nll_rescaled: float | None


_Scored = TypeVar("_Scored", Standing, Calibration)


@dataclasses.dataclass(frozen=True, eq=False)
class Judgement:
    """What the files of runs say about them.

    Attributes:
        groups: runs that differ in nothing but their seed.
        scored: the same, scored.
        tests: of every other group against the first, by name of the group.
        fits: line of the baselines by column.
        standings: robustness of every group at every scored alpha on every shift.
        calibrations: of every group at every scored alpha.
        differences: zero-shot against fine-tuned model by name of the group, ID data first, with means over shifts.
    """

    groups: Sequence[RunGroup]
    scored: Sequence[ScoredGroup]
    tests: dict[str, list[PairedTest]]
    fits: dict[str, BaselineFit]
    standings: Sequence[Standing]
    calibrations: Sequence[Calibration]
    differences: dict[str, list[Disagreement]]

    def table(self) -> str:
        """Return standings and calibration at every scored alpha as a CSV document."""
        sides = {(one.name, one.alpha, one.data): dataclasses.asdict(one) for one in self.calibrations}
        empty = dict.fromkeys(_CALIBRATION)
        found = [sides.get((one.name, one.alpha, one.data), empty) for one in self.standings]
        return standings_csv(self.standings, [{name: cells[name] for name in _CALIBRATION} for cells in found])

    def label(self, key: str) -> str:
        """Return the heading of a column."""
        return next((column.label for column in self.scored[0].columns if column.key == key), key)

    def short_standings(self) -> list[Standing]:
        """Return the standings that a short table shows: marked alphas on means, zero-shot once."""
        return self._shortened(self.standings, self._short_keys())

    def short_calibrations(self) -> list[Calibration]:
        """Return the same of calibration, and on ID data."""
        return self._shortened(self.calibrations, {*self._short_keys(), ID})

    def short_differences(self) -> dict[str, list[Disagreement]]:
        """Return the measures on ID data and on means; on everything where there are no means."""
        chosen = {}
        for name, found in self.differences.items():
            short = [one for one in found if not one.group or one.data in MEAN_LABELS.values()]
            chosen[name] = short if len(short) > 1 else found
        return chosen

    def mixed_alphas(self) -> set[float]:
        """Return the weights of the interpolated models, one unless recipes differ."""
        return {mixed_alpha(group) for group in self.groups}

    def _shortened(self, lines: Sequence[_Scored], keys: Container[str]) -> list[_Scored]:
        marked = {group.name: group.marked for group in self.scored}
        first = self.groups[0].name
        return [
            one
            for one in lines
            if one.data in keys and one.alpha in marked[one.name] and (one.alpha > 0 or one.name == first)
        ]

    def _short_keys(self) -> set[str]:
        columns = [column for column in self.scored[0].columns if column.group != ID]
        return {column.key for column in columns if column.group == MEAN} or {column.key for column in columns}

    def document(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        groups, plain = self.groups, dataclasses.asdict
        return {
            "alpha": groups[0].alpha,
            "groups": [{"name": group.name, "runs": [str(run.path) for run in group.runs]} for group in groups],
            "comparisons": [
                {"first": groups[0].name, "second": name, "tests": [plain(test) for test in tests]}
                for name, tests in self.tests.items()
            ],
            "baselines": {key: plain(fit) for key, fit in self.fits.items()},
            "robustness": [plain(one) for one in self.standings],
            "calibration": [plain(one) for one in self.calibrations],
            "differences": {name: [plain(one) for one in found] for name, found in self.differences.items()},
        }


_CALIBRATION = tuple(field.name for field in dataclasses.fields(Calibration)[3:])


def judge(
    groups: Sequence[RunGroup],
    baselines: Baselines | None = None,
    *,
    every_alpha: bool = False,
) -> Judgement:
    """Compare runs, from their files and from nothing else.

    Args:
        groups: see `group_runs`; the others are tested against the first, at their alpha.
        baselines: for effective robustness.
        every_alpha: judge all alphas; otherwise 0, 1, that of the groups and that of the recipe.

    Raises:
        CallError: if runs do not compare, or baselines do not fit them.
        VlmError: if a file of a run is damaged.
    """
    tests = {other.name: compare_groups(groups[0], other) for other in groups[1:]}
    scored = [score_group_of_runs(group, every_alpha) for group in groups]
    columns = {column.key for column in scored[0].columns}
    for group in scored[1:]:
        if {column.key for column in group.columns} != columns:
            raise CallError(
                f"{group.name} and {scored[0].name} were evaluated on different data sets; expected the same for all. "
                "Leave one of them out, or evaluate both on the same benchmark."
            )
    fits = baseline_fits(scored[0], baselines)
    return Judgement(
        groups,
        scored,
        tests,
        fits,
        [one for group in scored for one in standings(group, fits)],
        [one for group in scored for one in calibrations(group)],
        {group.name: _differences(group) for group in groups},
    )


def calibrations(group: ScoredGroup) -> list[Calibration]:
    """Return calibration on ID data, on every shift and on their means, for every scored alpha."""
    found = []
    for alpha in group.alphas:
        known = _means(group, alpha, ID, "ece")
        for key in [ID, *[column.key for column in group.columns if column.group != ID]]:
            values = {name: _means(group, alpha, key, name) for name in _CALIBRATION}
            ece = values["ece"]
            values["gap"] = None if ece is None or known is None else ece - known
            found.append(Calibration(group.name, alpha, key, **values))
    return found


def _means(group: ScoredGroup, alpha: float, key: str, metric: str) -> float | None:
    values = group.values(alpha, key, metric)
    return None if values is None else sum(values) / len(values)


def _differences(group: RunGroup) -> list[Disagreement]:
    alphas = (0.0, 1.0, mixed_alpha(group))
    return with_means(mean_over_runs([disagreements(*map(run.tables, alphas)) for run in group.runs]))
