"""Flat JSON lists, in which published programs keep labels, predictions and rationales: one number per image.

They hold no ids, so they mean something only beside the images in their record order: sorted class folders, sorted
files within. `ANNO_CUB.json` and its like are such lists of labels. The published program cut lists of different length
to the shortest without a word; here every list must have one entry for every image.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from vlm_data.dataset import UNLABELLED, ImageDataset
from vlm_data.errors import VlmDataError, listing
from vlm_data.files import write_text
from vlm_data.tables.rationales import NO_EVIDENCE, OK, Rationales

PathLike = str | os.PathLike[str]


def read_class_list(path: PathLike, n: int, classes: int | None = None) -> Int64[np.ndarray, " n"]:
    """Read a list of class indices: labels (`ANNO_*.json`) or predictions.

    Args:
        path: of the file.
        n: how many images there are.
        classes: how many classes there are, where that is known.

    Raises:
        VlmDataError: if the file is no flat list of whole numbers, has another length, or names no class.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/ANNO_CT.json"
        >>> write_text(path, "[0, 0, 2]")
        >>> read_class_list(path, 3)
        array([0, 0, 2])
    """
    values = _read(path, n)
    wrong = np.flatnonzero((values < 0) | (values >= (np.inf if classes is None else classes)))
    if len(wrong):
        most = "from 0 on" if classes is None else f"from 0 to {classes - 1}"
        raise VlmDataError(
            f"{path} holds {values[wrong[0]]} in place {wrong[0]}, and {len(wrong)} such numbers in all; expected "
            f"class indices {most}. Take the list that belongs to this data set."
        )
    return values


def read_rationale_list(path: PathLike, n: int) -> Bool[np.ndarray, " n"]:
    """Read a list that says for every image whether its evidence is valid (1) or not (0).

    Raises:
        VlmDataError: if the file is no flat list, has another length, or holds anything but 0 and 1.
    """
    values = _read(path, n)
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if len(wrong):
        raise VlmDataError(
            f"{path} holds {values[wrong[0]]} in place {wrong[0]}, and {len(wrong)} such numbers in all; expected 0 or "
            "1 for every image, whether its evidence is valid. Perhaps it is a list of predictions."
        )
    return values == 1


def read_published_rationales(
    dataset: ImageDataset,
    predictions: PathLike,
    rationales: PathLike,
    annotations: PathLike | None = None,
    *,
    classes: int | None = None,
    meta: Mapping[str, str] | None = None,
) -> Rationales:
    """Read what a published program found out about one model on one data set.

    The lists tell nothing about undefined maps or empty evidence: every status is `ok`, and there are no measures.

    Args:
        dataset: the images in record order, which give ids and labels.
        predictions: list of predicted classes.
        rationales: list of 0 and 1.
        annotations: list of labels, compared with those of the data set: another order shows here.
        classes: how many classes there are, where that is known.
        meta: see `Rationales`.

    Raises:
        VlmDataError: if a list does not fit the images; the first image that differs is named.
    """
    n = len(dataset)
    if annotations is not None:
        told = read_class_list(annotations, n, classes)
        differing = np.flatnonzero(told != dataset.labels)
        if len(differing):
            first = int(differing[0])
            raise VlmDataError(
                f"{annotations} labels {len(differing)} of {n} images otherwise than {dataset.name}/{dataset.split}; "
                f"the first is {dataset.ids[first]!r}: {told[first]} instead of {dataset.labels[first]}. Expected the "
                "labels of these images in this order. Check the split, and the order of its files."
            )
    return Rationales(
        dataset.ids,
        dataset.labels,
        read_class_list(predictions, n, classes),
        {},
        (OK,) * n,
        read_rationale_list(rationales, n),
        dict(meta or {}),
    )


def write_published_rationales(
    table: Rationales, predictions: PathLike, rationales: PathLike, annotations: PathLike | None = None
) -> None:
    """Write the lists of a table, each atomically, in the order of its samples.

    Maps and masks that say nothing are 0, as the lists have no other number for them.

    Raises:
        VlmDataError: for images without evidence (the published lists leave them out, see `in_order`) and, where
            labels are asked for, without a label.
    """
    unknown = [name for name, word in zip(table.ids, table.status, strict=True) if word == NO_EVIDENCE]
    if unknown:
        raise VlmDataError(
            f"{len(unknown)} of {table.n} samples have no evidence: {listing(unknown)}. Published lists hold 0 or 1 "
            "for every image they are about. Leave these samples out."
        )
    unlabelled = [name for name, label in zip(table.ids, table.labels, strict=True) if label == UNLABELLED]
    if annotations is not None and unlabelled:
        raise VlmDataError(
            f"{len(unlabelled)} of {table.n} samples have no label: {listing(unlabelled)}. A list of labels needs one "
            "for each. Leave it out, or these samples."
        )
    if annotations is not None:
        write_class_list(annotations, table.labels)
    write_class_list(predictions, table.predicted)
    write_class_list(rationales, table.rational.astype(np.int64))


def write_class_list(path: PathLike, values: Int64[np.ndarray, " n"]) -> None:
    """Write whole numbers as a flat JSON list, atomically.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "predictions.json")
        >>> write_class_list(path, np.array([3, 0]))
        >>> path.read_text()
        '[3, 0]'
    """
    write_text(path, json.dumps(values.tolist()))


def in_order(table: Rationales, ids: Sequence[str]) -> Rationales:
    """Return the rationales of these samples in this order, for example the record order of a data set.

    Raises:
        VlmDataError: for samples that the table does not have.

    Example:
        >>> table = Rationales(("b", "a"), np.array([1, 0]), np.array([1, 1]), {}, (OK, OK), np.array([True, False]))
        >>> in_order(table, ["a", "b"]).rational.tolist()
        [False, True]
    """
    row_of = {name: row for row, name in enumerate(table.ids)}
    missing = [name for name in ids if name not in row_of]
    if missing:
        raise VlmDataError(
            f"{len(missing)} of {len(ids)} samples are not among the {table.n} rationales: {listing(missing)}. "
            "Expected one for each. Make the rationales of these images, too."
        )
    rows = np.array([row_of[name] for name in ids], dtype=np.int64)
    return dataclasses.replace(
        table,
        ids=tuple(ids),
        labels=table.labels[rows],
        predicted=table.predicted[rows],
        measures={name: values[rows] for name, values in table.measures.items()},
        status=tuple(table.status[row] for row in rows),
        rational=table.rational[rows],
    )


def _read(path: PathLike, n: int) -> Int64[np.ndarray, " n"]:
    try:
        values = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise VlmDataError(f"cannot read {path}: {error}. Expected a flat JSON list of numbers.") from error
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise VlmDataError(f"{path} is not a flat list of whole numbers. Expected one for every image, such as [0, 4].")
    if len(values) != n:
        raise VlmDataError(
            f"{path} has {len(values)} entries for {n} images. Expected one for each: the lists hold no ids, so a list "
            "of another length belongs to other images, or is cut off. Take the whole list of these images."
        )
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        raise VlmDataError(f"{path} holds numbers that no list of classes has: {error}. Copy it again.") from error
