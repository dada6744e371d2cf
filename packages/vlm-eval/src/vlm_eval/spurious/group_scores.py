"""Accuracy of images and of regions by class and presence of a feature, from tables."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from vlm_data.errors import CallError, VlmDataError, unknown_name
from vlm_data.tables import Predictions, Regions
from vlm_eval.metrics.subgroups import Subgroup, Subgroups, subgroups
from vlm_eval.spurious.discovery_file import PREDICTIONS, REGIONS

FEATURE, PRESENT, ABSENT = "feature", "with", "without"
"""Attribute of controlled settings, and its two values."""


@dataclasses.dataclass(frozen=True)
class Presence:
    """Which attribute of images tells whether they hold the feature.

    Attributes:
        attribute: name of the groups.
        present: value of images that hold it.
        absent: value of those that do not.
    """

    attribute: str = FEATURE
    present: str = PRESENT
    absent: str = ABSENT


CONTROLLED = Presence()


def image_subgroups(predictions: Predictions, presence: Presence = CONTROLLED) -> Subgroups:
    """Return accuracy of images by class and presence of the feature; columns with, without.

    Args:
        predictions: of one model; images without a label are left out.
        presence: the attribute to look at.

    Raises:
        CallError: if the table does not tell that attribute or has other values of it.

    Example:
        >>> logits, groups = np.eye(2, dtype=np.float32), {"feature": ("with", "without")}
        >>> image_subgroups(Predictions(("a", "b"), np.array([0, 0]), logits, {}, groups)).accuracy[0]
        array([1., 0.])
    """
    values = _values(predictions, presence)
    classes, columns = predictions.logits.shape[1], (presence.present, presence.absent)
    return subgroups(predictions.correct, predictions.labels, values, classes, columns)


def region_subgroups(regions: Regions, predictions: Predictions, presence: Presence = CONTROLLED) -> Subgroups:
    """Return accuracy of regions by their own class and presence of the feature in their image.

    A region is answered by its own scores. Regions that show none of the classes (a planted rectangle, background)
    cannot be right or wrong, and count nowhere.

    Args:
        regions: with scores and labels, of images of the table.
        predictions: of the model on the images; it tells which of them hold the feature.
        presence: the attribute to look at.

    Raises:
        CallError: if the regions lie in other images or belong to other classes.
        VlmDataError: if they have no scores or no labels.
    """
    if regions.logits is None or regions.labels is None:
        missing = "scores" if regions.logits is None else "labels"
        raise VlmDataError(
            f"the {len(regions)} regions have no {missing}; expected both, to say whether regions are classified right."
        )
    if regions.logits.shape[1] != predictions.logits.shape[1]:
        raise CallError(
            f"regions are scored for {regions.logits.shape[1]} classes, images for {predictions.logits.shape[1]}; "
            "expected the same model for both."
        )
    rows = image_rows(regions, predictions.ids)
    values = _values(predictions, presence)
    classes, columns = predictions.logits.shape[1], (presence.present, presence.absent)
    correct = regions.logits.argmax(axis=1) == regions.labels
    return subgroups(correct, regions.labels, [values[row] for row in rows], classes, columns)


def discovered_regions(folder: str | os.PathLike[str], presence: Presence = CONTROLLED) -> Subgroups | None:
    """Return the accuracy of the regions that a discovery looked at, see `region_subgroups`.

    Args:
        folder: that `vlm spurious discover` wrote.
        presence: the attribute to look at.

    Returns:
        None where there is no discovery, its regions are not labelled, or its images do not tell the feature.

    Raises:
        VlmDataError: if a file is damaged.
    """
    paths = [Path(folder) / name for name in (REGIONS, PREDICTIONS)]
    if not all(path.is_file() for path in paths):
        return None
    regions, predictions = Regions.load(paths[0]), Predictions.load(paths[1])
    told = regions.logits is not None and regions.labels is not None and presence.attribute in predictions.groups
    return region_subgroups(regions, predictions, presence) if told else None


def image_rows(regions: Regions, ids: tuple[str, ...]) -> np.ndarray:
    """Return for each region the row of its image.

    Raises:
        CallError: if an image is not there.
    """
    rows = regions.rows_of(ids)
    strange = np.flatnonzero(rows < 0)
    if len(strange):
        raise CallError(
            f"{len(strange)} of {len(regions)} regions lie in images that are not there, the first in "
            f"{regions.image_ids[strange[0]]!r}. Expected regions of the same data set and split; give the table that "
            "belongs to it."
        )
    return rows


def subgroups_document(found: Subgroups, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Return accuracies as plain values, None where a cell is empty.

    Example:
        >>> one = Subgroups(("with", "without"), np.array([[1, 0]]), np.array([[2, 0]]))
        >>> subgroups_document(one, ("nine",))["cells"]
        [{'class': 'nine', 'value': 'with', 'accuracy': 0.5, 'n': 2}]
    """
    cells = [
        {"class": class_names[label], "value": value, "accuracy": float(found.accuracy[label, column]), "n": int(n)}
        for label, row in enumerate(found.counts)
        for column, (value, n) in enumerate(zip(found.values, row, strict=True))
        if n
    ]
    return {
        "n": int(found.counts.sum()),
        "overall": found.overall,
        "worst_class": found.worst_class,
        "worst_group": worst_document(found.worst, class_names),
        "empty_groups": found.empty,
        "cells": cells,
    }


def worst_document(worst: Subgroup | None, class_names: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the worst group as plain values; None without a sample."""
    if worst is None:
        return None
    return {"class": class_names[worst.label], "value": worst.value, "accuracy": worst.accuracy, "n": worst.n}


def _values(predictions: Predictions, presence: Presence) -> tuple[str, ...]:
    if presence.attribute not in predictions.groups:
        name = predictions.meta.get("data") or "the table"
        if not predictions.groups:
            raise CallError(
                f"{name} does not tell which images hold the feature: it has no groups. Expected a setting of "
                "`vlm spurious build`, or data with groups."
            )
        raise unknown_name(f"attribute of {name}", presence.attribute, sorted(predictions.groups))
    values = predictions.groups[presence.attribute]
    strange = sorted(set(values) - {presence.present, presence.absent})
    if strange:
        raise CallError(
            f"images have the values {', '.join(map(repr, strange))} of {presence.attribute!r}; expected "
            f"{presence.present!r} or {presence.absent!r}."
        )
    return values
