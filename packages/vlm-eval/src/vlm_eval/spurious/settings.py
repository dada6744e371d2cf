"""Runs on controlled settings: which have learnt what was planted, and whether discovery found it."""

import dataclasses
import itertools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vlm_data.controlled import Setting, setting_of
from vlm_data.errors import CallError
from vlm_data.files import write_text
from vlm_data.tables import Regions
from vlm_eval.comparing.paired import recipe_names
from vlm_eval.metrics.subgroups import Subgroups
from vlm_eval.run_files import RunFiles, read_run
from vlm_eval.spurious.discovery_file import REGIONS, SPURIOUS, VALIDITY, read_discovery
from vlm_eval.spurious.group_scores import discovered_regions, subgroups_document
from vlm_eval.spurious.retrieval import Retrieval, judge_discovery
from vlm_eval.spurious.validity import Validity, class_names_of, id_table, judge_tables


@dataclasses.dataclass(frozen=True, eq=False)
class JudgedSetting:
    """The seeds of one setting, fine-tuned alike.

    Attributes:
        settings: of the runs, in their order; they differ in their seed at most.
        method: of all runs, with the settings in which runs of one method differ.
        model: that all runs started from.
        validity: have they learnt what was planted.
        retrievals: was it found; None for a run that was not searched.
        regions: accuracy of the regions that were looked at; None where they are not labelled.
    """

    settings: tuple[Setting, ...]
    method: str
    model: str
    validity: Validity
    retrievals: tuple[Retrieval | None, ...]
    regions: tuple[Subgroups | None, ...]

    @property
    def name(self) -> str:
        """Which setting: what it is made of, the class, and how strongly the feature is tied to it."""
        one = self.settings[0]
        return f"{one.source}, {one.feature} with {one.spurious_class}, V {one.v:g}"

    def document(self) -> dict[str, Any]:
        """Return all of it as plain values; fractions."""
        one = self.settings[0]
        told = {name: getattr(one, name) for name in ("source", "feature", "v")}
        told |= {"achieved": [setting.achieved for setting in self.settings]}
        found = [None if retrieval is None else retrieval.document() for retrieval in self.retrievals]
        names = self.validity.class_names
        regions = [None if groups is None else subgroups_document(groups, names) for groups in self.regions]
        judged = {**self.validity.document(), "retrievals": found, "regions": regions}
        return {**told, "method": self.method, "model": self.model, **judged}


def judge_runs(runs: Iterable[str | os.PathLike[str]]) -> list[JudgedSetting]:
    """Sort runs by setting, model and how they were fine-tuned, and judge the seeds of each together.

    Args:
        runs: directories of runs on controlled settings.

    Raises:
        CallError: if there is none, one is named twice, or its data is no controlled setting.
        VlmError: if a file is damaged.
    """
    folders = [read_run(run) for run in runs]
    if not folders:
        raise CallError("there is no run to judge; expected one at least.")
    if len({run.path.resolve() for run in folders}) < len(folders):
        raise CallError("a run is named twice; expected every run once.")
    found = [(run, _setting_of_run(run)) for run in folders]
    names = dict(zip((run.path for run in folders), recipe_names([_training(run) for run in folders]), strict=True))
    judged = []
    for _, members in itertools.groupby(sorted(found, key=_order), key=_kind):
        alike = list(members)
        judged.append(_judge(alike, names[alike[0][0].path]))
    return judged


def write_validity(judged: Iterable[JudgedSetting]) -> list[Path]:
    """Write what was found into `spurious/validity.json` of every run, where its report looks for it."""
    written = []
    for setting in judged:
        told = setting.document()
        found = zip(told.pop("retrievals"), told.pop("regions"), strict=True)
        for seed, (retrieval, regions) in zip(setting.validity.seeds, found, strict=True):
            path = Path(seed.run) / SPURIOUS / VALIDITY
            own = {"retrieval": retrieval, "regions": regions}
            write_text(path, json.dumps(told | own, indent=2, allow_nan=False) + "\n")
            written.append(path)
    return written


def _judge(members: list[tuple[RunFiles, Setting]], method: str) -> JudgedSetting:
    tables = [(str(run.path), id_table(run)) for run, _ in members]
    (first, setting) = members[0]
    names = class_names_of(first, tables[0][1])
    validity = judge_tables(tables, names, setting.spurious_class)
    settings = tuple(setting for _, setting in members)
    model = str(first.recipe.get("model", {}).get("spec", ""))
    regions = tuple(discovered_regions(run.path / SPURIOUS) for run, _ in members)
    retrievals = tuple(_retrieval(*one) for one in members)
    return JudgedSetting(settings, method, model, validity, retrievals, regions)


def _retrieval(run: RunFiles, setting: Setting) -> Retrieval | None:
    folder = run.path / SPURIOUS
    if read_discovery(folder) is None:
        return None
    data = Regions.load(folder / REGIONS).meta.get("data", setting.name)
    if data != setting.name:  # images of two settings may have the same names
        raise CallError(
            f"the discovery in {folder} was made on {data}, the run is on {setting.name}; expected one data set for "
            "both. Search the run again, without --data."
        )
    return judge_discovery(folder, Regions.load(setting.regions), spurious_class=setting.spurious_class)


def _setting_of_run(run: RunFiles) -> Setting:
    data = run.recipe.get("data", {})
    return setting_of(str(data.get("name", "")), data.get("root") or None)


def _training(run: RunFiles) -> dict[str, dict[str, Any]]:
    """Return what a recipe says of how the model was fine-tuned, apart from seeds and from where files lie."""
    kept = {name: dict(run.recipe.get(name, {})) for name in ("method", "lora", "training")}
    kept["training"].pop("seed", None)
    data = run.recipe.get("data", {})
    regions = Path(str(data.get("regions") or "")).name  # discovered or true ones; each seed has a file of its own
    return {**kept, "data": {"regions": regions, "augmentation": data.get("augmentation")}}


def _kind(one: tuple[RunFiles, Setting]) -> tuple[object, ...]:
    """Return what the seeds of a setting have in common: setting, model, and how it was fine-tuned."""
    run, setting = one
    facts = setting.source, setting.feature, setting.class_names, setting.spurious_class, setting.v
    how = json.dumps(_training(run), sort_keys=True, default=str)
    return *facts, run.recipe.get("model", {}).get("spec", ""), run.recipe.get("method", {}).get("name", ""), how


def _order(one: tuple[RunFiles, Setting]) -> tuple[object, ...]:
    return *_kind(one), one[1].seed, str(one[0].path)
