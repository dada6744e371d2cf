"""Prediction, relevance and measures of several models in one pass over the images of a data set."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vlm_data.benchmark import ClassSources, EvaluationSet
from vlm_data.dataset import UNLABELLED, ImageDataset
from vlm_data.errors import CallError
from vlm_data.evidence_batches import evaluation_masks
from vlm_data.loading import Batch
from vlm_data.progress import Progress
from vlm_data.tables import Rationales
from vlm_data.tables.rationales import STATUSES
from vlm_explain.rationale.judgement import measure
from vlm_explain.rationale.measures import OVERLAP_MEASURES, PERTURBATION_MEASURES
from vlm_explain.rationale.perturbation import Perturbation, perturbation_curves
from vlm_explain.rationale.sets import has_evidence
from vlm_explain.relevance import Explained, RelevanceOptions, explain_batch
from vlm_models.classifier import Classifier, LinearHead
from vlm_models.inference import map_batches

DEFAULTS = RelevanceOptions()


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model whose rationales are wanted.

    Attributes:
        model: the classifier, on the device where it shall run.
        options: what is explained of it, and how.
        facts: what its tables say beside `vlm_models.checkpoint.model_facts`, such as `model` and `alpha`.
        folder: where its tables are kept; None = nowhere.
    """

    model: Classifier
    options: RelevanceOptions = DEFAULTS
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folder: Path | None = None


def tables_in_one_pass(
    subjects: Sequence[Subject],
    evaluation: EvaluationSet,
    perturbation: Perturbation | None,
    level: int,
    batch_size: int,
    progress: Progress,
) -> list[Rationales]:
    """Return the rationales of every model on one data set, without decisions.

    Args:
        subjects: models of one preprocessing.
        evaluation: images with evidence.
        perturbation: measure insertion and deletion, too.
        level: see `vlm_data.transforms.evaluation_mask`.
        batch_size: of each process.
        progress: told about batches.

    Raises:
        CallError: as for `vlm_explain.rationale.over_data.rationales_of_all`.
    """
    dataset = evaluation.dataset
    _check(dataset, subjects)
    models = [_on_classes(subject.model, evaluation.classes) for subject in subjects]
    preprocess, device = models[0].encoder.preprocess, models[0].head.weight.device

    def rows(batch: Batch) -> tuple[Tensor, Tensor]:
        masks, known = evaluation_masks(dataset, batch.indices.numpy(), preprocess, level=level)
        evidence = torch.from_numpy(masks).to(device)
        parts = [
            _rows(model, subject.options, batch, evidence, known, perturbation)
            for model, subject in zip(models, subjects, strict=True)
        ]
        return batch.indices, torch.stack(parts, dim=1)

    found = map_batches(rows, dataset, preprocess, device=device, batch_size=batch_size, progress=progress)
    names = (*OVERLAP_MEASURES, *(PERTURBATION_MEASURES if perturbation else ()))
    return [_table(dataset, found[:, column], names) for column in range(len(subjects))]


def _rows(
    model: Classifier,
    options: RelevanceOptions,
    batch: Batch,
    evidence: Tensor,
    known: np.ndarray,
    perturbation: Perturbation | None,
) -> Float64[Tensor, "b columns"]:
    """Return prediction, status and measures of a batch."""
    labels = batch.labels if options.needs_labels else None
    explained = explain_batch(model, batch.images, labels, options)
    overlap = measure(explained.maps, evidence, known=known, flat=explained.flat.cpu().numpy())
    status = [STATUSES.index(word) for word in overlap.status]
    columns = [explained.predicted.cpu().numpy(), np.array(status), *overlap.measures.values()]
    if perturbation:
        columns += _perturbed(model, batch, explained, perturbation)
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float64))


def _perturbed(model: Classifier, batch: Batch, explained: Explained, options: Perturbation) -> list[np.ndarray]:
    """Return the areas under the curves of insertion and deletion; a flat map orders nothing."""
    curves = perturbation_curves(model, batch.images, explained.raw, explained.targets, options)
    areas = (curves.insertion_area, curves.deletion_area)
    return [area.double().masked_fill(explained.flat, torch.nan).cpu().numpy() for area in areas]


def _table(dataset: ImageDataset, rows: Float64[np.ndarray, "n columns"], names: Sequence[str]) -> Rationales:
    status = tuple(STATUSES[int(code)] for code in rows[:, 1])
    measures = {name: rows[:, column].copy() for column, name in enumerate(names, start=2)}
    predicted = rows[:, 0].astype(np.int64)
    return Rationales(dataset.ids, dataset.labels, predicted, measures, status, np.zeros(len(rows), dtype=bool))


def _on_classes(model: Classifier, classes: ClassSources) -> Classifier:
    """Return the classifier whose classes are those of the data set, each one class of the model."""
    if not classes:
        return model
    if any(len(sources) != 1 for sources in classes):
        raise CallError(
            "classes of this data set are made of several classes of the model, so no single score is theirs to "
            "explain. Expected data whose classes are among the model's."
        )
    sources = [source for (source,) in classes]
    head = LinearHead(model.head.weight[sources], model.head.bias[sources])
    names = [model.class_names[source] for source in sources]
    return Classifier(model.encoder, head, model.head_kind, names, model.templates)


def _check(dataset: ImageDataset, subjects: Sequence[Subject]) -> None:
    if not has_evidence(dataset):
        raise CallError(
            f"no image of {dataset.name} ({dataset.split}) has evidence, so nothing can be said about what answers "
            "rest on. Expected masks, outlines or boxes; `vlm data show` tells where they are looked for."
        )
    unlabelled = int((dataset.labels == UNLABELLED).sum())
    if unlabelled and any(subject.options.needs_labels for subject in subjects):
        raise CallError(
            f"{unlabelled} of {len(dataset)} images of {dataset.name} ({dataset.split}) have no label, but the "
            "relevance for the label is wanted. Leave them out, or choose target=prediction."
        )
