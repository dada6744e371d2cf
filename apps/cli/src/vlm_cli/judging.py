"""From model specs to tables of rationales: what `vlm rationale` does before it shows anything."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_cli.console import Console
from vlm_cli.relevance_choice import RelevanceChoice

if TYPE_CHECKING:
    from vlm_data.benchmark import Benchmark
    from vlm_data.tables import Rationales
    from vlm_eval.metrics.rationality import RationaleCounts
    from vlm_eval.rationality.of_models import RationalityOfModels
    from vlm_explain.rationale import Rule


@dataclasses.dataclass(frozen=True)
class Judging:
    """How images are judged.

    Attributes:
        sets: words for `vlm_explain.rationale.sets.judged_sets`.
        relevance: what is explained, by which rule.
        rule: the decision.
        level: from which grey level of a mask a pixel is evidence.
        batch_size: images at a time.
        out: folder of the tables.
    """

    sets: str
    relevance: RelevanceChoice
    rule: "Rule"
    level: int
    batch_size: int
    out: Path


@dataclasses.dataclass(frozen=True)
class Judged:
    """Models and their tables on the same data sets.

    Attributes:
        tables: by spec, in the order of the data sets.
        class_names: of the data.
    """

    tables: "Mapping[str, Sequence[Rationales]]"
    class_names: tuple[str, ...]

    @functools.cached_property
    def rationality(self) -> "RationalityOfModels":
        """The tables sorted by data set: scores, tests, curves; models by their short names.

        Raises:
            CallError: if no image has both label and evidence.
        """
        from vlm_data.errors import CallError
        from vlm_eval.rationality.of_models import rationality_of_models

        names = short_names(list(self.tables))
        found = rationality_of_models({names[spec]: tables for spec, tables in self.tables.items()})
        if found is None:
            raise CallError(
                "no image has both a label and evidence, so there is no PT and no IR. Expected labelled images; the "
                "tables, which hold every measure, are written."
            )
        return found

    def severities(self) -> "list[Rationales]":
        """Return the tables of single severities, in the order of the data sets."""
        together = zip(*self.tables.values(), strict=True)
        return [table for tables in together for table in tables if table.meta.get("severity", "0") != "0"]

    def classes(self) -> "dict[str, dict[str, RationaleCounts]]":
        """Return the 2 x 2 table of every class, by model and data set."""
        from vlm_eval.rationality.scores import scores_per_class

        return {
            f"{spec} on {table.meta['data']}": scores_per_class(table, self.class_names)
            for spec, tables in self.tables.items()
            for table in tables
        }

    def document(self, per_class: bool) -> dict[str, Any]:
        """Return everything as plain values: a row for every table and mean, tests against the first model."""
        from vlm_eval.rationality.comparison import compare_models
        from vlm_eval.rationality.documents import (
            class_documents,
            comparison_documents,
            curve_documents,
            scores_document,
        )
        from vlm_eval.rationality.scores import score_all, scores_per_class

        every = [table for tables in self.tables.values() for table in tables]
        content: dict[str, Any] = {"rows": [scores_document(scores) for scores in score_all(every)]}
        if len(self.tables) > 1:
            content["tests"] = comparison_documents(compare_models(self.tables))
        content["curves"] = [
            {"model": model, **record}
            for model, curve in self.rationality.curves.items()
            for record in curve_documents(curve)
        ]
        if per_class:
            content["classes"] = [
                {"model": spec, "data": table.meta["data"], **record}
                for spec, tables in self.tables.items()
                for table in tables
                for record in class_documents(scores_per_class(table, self.class_names))
            ]
        return content


def short_names(specs: Sequence[str]) -> dict[str, str]:
    """Return what is shown of every spec: its end, where no other ends like it.

    Example:
        >>> short_names(["tiny", "run:runs/a-seed0"]), short_names(["run:x/full", "run:y/full"])
        ({'tiny': 'tiny', 'run:runs/a-seed0': 'a-seed0'}, {'run:x/full': 'run:x/full', 'run:y/full': 'run:y/full'})
    """
    ends = {spec: spec.rstrip("/").rsplit("/", 1)[-1] for spec in specs}
    return ends if len(set(ends.values())) == len(ends) else {spec: spec for spec in specs}


def judge_models(
    specs: Sequence[str], benchmark: "Benchmark", judging: Judging, device: str, console: Console
) -> Judged:
    """Compute or read the rationales of all models, data set by data set."""
    from vlm_data.table_facts import file_stem
    from vlm_eval.evaluation import predictions_folder
    from vlm_explain.rationale import Subject, rationales_of_all
    from vlm_explain.rationale.sets import judged_sets
    from vlm_models.zero_shot import load_classifier

    sets = judged_sets(benchmark, judging.sets, labelled=judging.relevance.needs_labels)
    subjects = []
    for spec in specs:
        model = load_classifier(spec, benchmark.class_names, benchmark.templates, device)
        how = judging.relevance.of(model)
        kind = file_stem("-".join(dataclasses.astuple(how)))  # maps of another kind do not replace these
        folder = predictions_folder(judging.out, spec, benchmark) / kind
        subjects.append(Subject(model, how, {"model": spec}, folder))
    console.say(
        f"explaining {len(subjects)} model{'s' * (len(subjects) > 1)} on {len(sets)} test set{'s' * (len(sets) > 1)}"
    )
    found: dict[str, list[Rationales]] = {spec: [] for spec in specs}
    tables = rationales_of_all(
        subjects, sets, judging.rule, level=judging.level, batch_size=judging.batch_size, progress=console.progress
    )
    for table in tables:
        found[table.meta["model"]].append(table)
    return Judged(found, benchmark.class_names)
