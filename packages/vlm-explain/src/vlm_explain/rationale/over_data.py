"""Rationales of whole data sets, kept as tables: what is on disk is not computed again."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vlm_data.benchmark import EvaluationSet
from vlm_data.dataset import ArrayDataset, ImageDataset
from vlm_data.progress import Progress, silent
from vlm_data.table_facts import load_matching, set_facts, table_name
from vlm_data.tables import Rationales
from vlm_data.transforms import HALF
from vlm_explain.rationale.judgement import decide
from vlm_explain.rationale.one_pass import DEFAULTS, Subject, tables_in_one_pass
from vlm_explain.rationale.perturbation import Perturbation
from vlm_explain.rationale.rule import PUBLISHED, Rule
from vlm_explain.relevance import RelevanceOptions
from vlm_models.checkpoint import model_facts
from vlm_models.classifier import Classifier, require_head
from vlm_models.inference import process_place

RELEVANCE_BATCH = 64
"""Images at once by default: attention of all layers with its gradients takes much more memory than a prediction."""


def rationales_of(
    model: Classifier,
    evaluation_set: EvaluationSet,
    options: RelevanceOptions = DEFAULTS,
    rule: Rule = PUBLISHED,
    out: Path | None = None,
    *,
    facts: Mapping[str, str] | None = None,
    perturbation: Perturbation | None = None,
    level: int = HALF,
    batch_size: int = RELEVANCE_BATCH,
    progress: Progress = silent,
) -> Rationales:
    """Return what one model's answers on one data set rest on, see `rationales_of_all`.

    Args:
        model: the classifier, on the device where it shall run.
        evaluation_set: images with evidence.
        options: what is explained, and how.
        rule: when relevance counts as falling on the evidence.
        out: folder of the table; if it is there from the same model, data and options, it is not computed again.
        facts: what the table says beside the usual.
        perturbation: measure insertion and deletion, too.
        level: see `vlm_data.transforms.evaluation_mask`.
        batch_size: of each process.
        progress: told about batches.

    Raises:
        CallError: as for `rationales_of_all`.

    Example:
        >>> from vlm_data import load_benchmark
        >>> from vlm_models import load_encoder
        >>> from vlm_models.zero_shot import zero_shot_classifier
        >>> digits = load_benchmark("digits", limit=50)
        >>> model = zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)
        >>> table = rationales_of(model, next(digits.evaluation_sets()))
        >>> table.n, table.meta["rule"], set(table.status)
        (50, 'mass>=0.5', {'ok'})
    """
    subject = Subject(model, options, facts or {}, out)
    tables = rationales_of_all(
        [subject],
        [evaluation_set],
        rule,
        perturbation=perturbation,
        level=level,
        batch_size=batch_size,
        progress=progress,
    )
    return next(tables)


def rationales_of_all(
    subjects: Sequence[Subject],
    sets: Iterable[EvaluationSet],
    rule: Rule = PUBLISHED,
    *,
    perturbation: Perturbation | None = None,
    level: int = HALF,
    batch_size: int = RELEVANCE_BATCH,
    progress: Progress = silent,
) -> Iterator[Rationales]:
    """Yield the rationales of every model on every data set: for each data set one table per model, in their order.

    Every image is decoded once and its evidence is made once for all models of one preprocessing; one forward pass
    gives prediction and relevance. Under several processes each computes a part and all return the whole tables.

    Tables that are on disk are used where model, data and options are the same; if only the rule is another one, it is
    applied to the stored measures. What was computed when a process was killed is whole tables.

    Args:
        subjects: the models.
        sets: the data, with evidence for some of the images at least.
        rule: when relevance counts as falling on the evidence.
        perturbation: measure insertion and deletion, too.
        level: see `vlm_data.transforms.evaluation_mask`.
        batch_size: of each process; results do not depend on it beyond rounding.
        progress: told about batches.

    Raises:
        CallError: if no image of a data set has evidence, a model has no head, images have no label although the
            relevance for the label is wanted, or classes of the data set are made of several of the model's.
    """
    for subject in subjects:
        require_head(subject.model)
    facts = [_subject_facts(subject, perturbation, level) for subject in subjects]
    for evaluation in sets:
        metas = [{**fact, **set_facts(evaluation), **_evidence_facts(evaluation.dataset)} for fact in facts]
        tables = [_stored(subject.folder, meta, rule) for subject, meta in zip(subjects, metas, strict=True)]
        for rows in _passes(subjects, tables):
            chosen = [subjects[row] for row in rows]
            found = tables_in_one_pass(chosen, evaluation, perturbation, level, batch_size, progress)
            for row, table in zip(rows, found, strict=True):
                tables[row] = _kept(subjects[row].folder, decide(dataclasses.replace(table, meta=metas[row]), rule))
        yield from (table for table in tables if table is not None)


def options_facts(options: RelevanceOptions) -> dict[str, str]:
    """Return what a table says about the relevance it was made with.

    Example:
        >>> options_facts(RelevanceOptions(layers="all"))["relevance_layers"]
        'all'
    """
    return {f"relevance_{name}": str(value) for name, value in dataclasses.asdict(options).items()}


def _subject_facts(subject: Subject, perturbation: Perturbation | None, level: int) -> dict[str, str]:
    how = options_facts(subject.options)
    taken = {} if perturbation is None else dataclasses.asdict(perturbation)
    how |= {f"perturbation_{name}": str(value) for name, value in taken.items()}
    return {**model_facts(subject.model), **how, "evidence_level": str(level), **subject.facts}


def _evidence_facts(dataset: ImageDataset) -> dict[str, str]:
    """Return the hash of evidence in memory, which the fingerprint of such a data set leaves out."""
    if not isinstance(dataset, ArrayDataset) or dataset.masks is None:
        return {}
    return {"evidence_hash": hashlib.sha256(np.packbits(dataset.masks).tobytes()).hexdigest()[:16]}


def _stored(folder: Path | None, meta: Mapping[str, str], rule: Rule) -> Rationales | None:
    """Return the table on disk that differs in nothing but the rule, which is applied."""
    path = folder / table_name(meta) if folder else None
    table = load_matching(Rationales, path, meta, ignoring=("rule",))
    if table is None or table.meta.get("rule") == str(rule):
        return table
    return _kept(folder, decide(table, rule))


def _kept(folder: Path | None, table: Rationales) -> Rationales:
    if folder and process_place()[0] == 0:
        table.save(folder / table_name(table.meta))
    return table


def _passes(subjects: Sequence[Subject], tables: Sequence[Rationales | None]) -> list[list[int]]:
    """Return which models are missing, together where they want the same pixels."""
    groups: dict[str, list[int]] = {}
    for row, (subject, table) in enumerate(zip(subjects, tables, strict=True)):
        if table is None:
            groups.setdefault(subject.model.encoder.preprocess.hash, []).append(row)
    return list(groups.values())
