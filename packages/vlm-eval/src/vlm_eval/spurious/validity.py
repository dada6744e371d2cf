"""Whether models learnt a planted correlation: both gaps above a threshold, for all seeds."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import Any

from vlm_data.errors import CallError, unknown_name
from vlm_data.tables import Predictions
from vlm_eval.metrics.spurious import THRESHOLDS, LearntGaps, is_valid, learnt_gaps
from vlm_eval.metrics.subgroups import Subgroups
from vlm_eval.run_files import RunFiles, read_run
from vlm_eval.score_table import ID
from vlm_eval.spurious.group_scores import CONTROLLED, Presence, image_subgroups, subgroups_document


@dataclasses.dataclass(frozen=True, eq=False)
class SeedValidity:
    """One model on the data without the tie.

    Attributes:
        run: directory.
        groups: accuracy by class and presence of the feature.
        gaps: how much it leans on the feature.
    """

    run: str
    groups: Subgroups
    gaps: LearntGaps


@dataclasses.dataclass(frozen=True, eq=False)
class Validity:
    """Whether a setting is valid (RaVL): every seed exceeds the threshold in both gaps.

    Attributes:
        spurious_class: name of the class the feature was tied to.
        class_names: of the models.
        presence: which attribute tells the feature.
        data, split: what the models were judged on.
        seeds: one entry per model.
        thresholds: fractions.
    """

    spurious_class: str
    class_names: tuple[str, ...]
    presence: Presence
    data: str
    split: str
    seeds: tuple[SeedValidity, ...]
    thresholds: tuple[float, ...] = THRESHOLDS

    @property
    def valid(self) -> dict[float, bool]:
        """Is the setting valid, by threshold."""
        return {threshold: is_valid([one.gaps for one in self.seeds], threshold) for threshold in self.thresholds}

    @property
    def strength(self) -> float | None:
        """The smallest gap of any seed: valid at every threshold below it. None where a gap is undefined."""
        known = [one.gaps.strength for one in self.seeds]
        return None if None in known else min(value for value in known if value is not None)

    def document(self) -> dict[str, Any]:
        """Return all of it as plain values; fractions."""
        return {
            "spurious_class": self.spurious_class,
            "attribute": self.presence.attribute,
            "data": self.data,
            "split": self.split,
            "valid": [{"threshold": threshold, "valid": valid} for threshold, valid in self.valid.items()],
            "strength": self.strength,
            "seeds": [
                {
                    "run": one.run,
                    "epsilon1": one.gaps.epsilon1,
                    "epsilon2": one.gaps.epsilon2,
                    "epsilon2_class": None if one.gaps.class2 is None else self.class_names[one.gaps.class2],
                    **subgroups_document(one.groups, self.class_names),
                }
                for one in self.seeds
            ],
        }


def judge_setting(
    runs: Iterable[str | os.PathLike[str]],
    spurious_class: str,
    *,
    presence: Presence = CONTROLLED,
    thresholds: Sequence[float] = THRESHOLDS,
    split: str = "test",
    alpha: float = 1.0,
) -> Validity:
    """Judge from their predictions whether the runs of a setting learnt its correlation.

    Args:
        runs: directories of runs on one setting, which differ in their seed.
        spurious_class: name of the class the feature was tied to, as the setting tells.
        presence: which attribute tells the feature.
        thresholds: fractions.
        split: `test` or `val`.
        alpha: weight of the fine-tuned model.

    Raises:
        CallError: if there is no run, one is named twice, they do not compare, or class or attribute are unknown.
        VlmError: if a file of a run is damaged.
    """
    folders = [read_run(run) for run in runs]
    if not folders:
        raise CallError("there is no run to judge; expected one for every seed.")
    if len({run.path.resolve() for run in folders}) < len(folders):
        raise CallError("a run is named twice; expected every seed once.")
    tables = [id_table(run, split, alpha) for run in folders]
    names = [class_names_of(run, table) for run, table in zip(folders, tables, strict=True)]
    data = {table.meta.get("data", "") for table in tables}
    if len(set(names)) > 1 or len(data) > 1:
        raise CallError(
            f"the {len(folders)} runs are of different problems ({', '.join(sorted(data))}); expected runs on one "
            "setting that differ in their seed. Judge every setting on its own."
        )
    pairs = [(str(run.path), table) for run, table in zip(folders, tables, strict=True)]
    return judge_tables(pairs, names[0], spurious_class, presence=presence, thresholds=thresholds)


def judge_tables(
    tables: Sequence[tuple[str, Predictions]],
    class_names: Sequence[str],
    spurious_class: str,
    *,
    presence: Presence = CONTROLLED,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Validity:
    """Do the same from tables of predictions, each with the name of its model.

    Raises:
        CallError: if there is no table, or the class or the attribute is unknown.
    """
    if not tables:
        raise CallError("there is no table to judge; expected one for every seed.")
    if spurious_class not in class_names:
        raise unknown_name("class", spurious_class, class_names)
    label = list(class_names).index(spurious_class)
    seeds = []
    for name, table in tables:
        groups = image_subgroups(table, presence)
        seeds.append(SeedValidity(name, groups, learnt_gaps(groups, label, presence.present, presence.absent)))
    meta = tables[0][1].meta
    facts = meta.get("data", ""), meta.get("split", "")
    return Validity(spurious_class, tuple(class_names), presence, *facts, tuple(seeds), tuple(thresholds))


def id_table(run: RunFiles, split: str = "test", alpha: float = 1.0) -> Predictions:
    """Return what a run answered on its in-distribution data.

    Raises:
        CallError: if it has no such table.
    """
    found = next((table for table in run.tables(alpha, split) if table.meta.get("role", ID) == ID), None)
    if found is None:
        raise CallError(
            f"{run.path} has no {split} predictions at alpha {alpha:g}; expected those that `vlm finetune` writes. "
            "Give that command again."
        )
    return found


def class_names_of(run: RunFiles, table: Predictions) -> tuple[str, ...]:
    """Return the class names of a run, one for every column of its table.

    Raises:
        CallError: if there are fewer or more.
    """
    names = tuple(run.manifest.get("class_names", ()))
    if len(names) != table.logits.shape[1]:
        raise CallError(
            f"{run.path} names {len(names)} classes, its predictions have {table.logits.shape[1]}; expected a finished "
            "run. Give its `vlm finetune` command again."
        )
    return names
