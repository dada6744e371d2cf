"""Photographs whose objects are boxed and named, as the instance files of COCO have them."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vlm_data.coco_files import CocoFile, read_coco_file
from vlm_data.errors import CallError, unknown_name

_LONGEST = 1e9
"""Pixels; a number beyond it is no side of a photograph."""


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotatedPhotos:
    """Photographs in the order of their names, and the objects in them.

    Attributes:
        files: n file names.
        captions: n tuples of texts, or empty where no captions were read.
        categories: c names.
        image_of: (m,) position of the photograph of each object.
        category_of: (m,) category of each object.
        boxes: (m, 4) x1, y1, x2, y2 in pixels; x2 and y2 are exclusive.
        present: (n, c) does the photograph hold an object of the category, boxed or not.
        unboxed: number of annotations whose box has no area; they make their category present and are no objects.
    """

    files: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    categories: tuple[str, ...]
    image_of: Int64[np.ndarray, " m"]
    category_of: Int64[np.ndarray, " m"]
    boxes: Float64[np.ndarray, "m 4"]
    present: Bool[np.ndarray, "n c"]
    unboxed: int = 0

    def category(self, name: str) -> int:
        """Return the number of a category.

        Raises:
            CallError: if there is no such category; the nearest is offered.
        """
        if name not in self.categories:
            raise unknown_name("category of the instances", name, self.categories)
        return self.categories.index(name)

    @cached_property
    def _first_object(self) -> Int64[np.ndarray, " n_plus_1"]:
        return np.searchsorted(self.image_of, np.arange(len(self.files) + 1))

    def objects_of(self, rows: Sequence[int] | Int64[np.ndarray, " k"]) -> Int64[np.ndarray, " o"]:
        """Return the numbers of the objects of some photographs, in the order of these."""
        spans = [np.arange(self._first_object[row], self._first_object[row + 1]) for row in rows]
        return np.concatenate(spans) if spans else np.zeros(0, dtype=np.int64)


def read_annotated_photos(instances: Path, captions: Path | None = None) -> AnnotatedPhotos:
    """Read a file of instances and one of captions of the same photographs.

    Boxes are cut at the border of the photograph where its size is told. Crowds count as one object each.

    Raises:
        DataLayoutError: if a file is not in the format of COCO; the entry is named.
        CallError: if no caption belongs to a photograph of the instances.
    """
    file = read_coco_file(instances)
    if not file.categories:
        raise file.wrong("has no categories, so nothing can be a class or a feature")
    position = {key: row for row, key in enumerate(sorted(file.images, key=lambda key: file.images[key]["file_name"]))}
    column = {key: number for number, key in enumerate(file.categories)}
    image_of, category_of = _columns(file, position, column)
    boxes = _cut(_boxes(file), image_of, _sizes(file, position))
    present = np.zeros((len(position), len(column)), dtype=np.bool_)
    present[image_of, category_of] = True
    names = tuple(file.categories[key]["name"] for key in column)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise file.wrong(f"has two categories called {twice[0]!r}")
    whole = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    kept = whole[np.argsort(image_of[whole], kind="stable")]
    return AnnotatedPhotos(
        tuple(file.images[key]["file_name"] for key in position),
        _captions(captions, file, position) if captions else (),
        names,
        image_of[kept],
        category_of[kept],
        boxes[kept],
        present,
        len(boxes) - len(kept),
    )


def _columns(
    file: CocoFile, position: Mapping[Any, int], column: Mapping[Any, int]
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Return photograph and category of every annotation."""
    found = []
    for number, annotation in enumerate(file.annotations):
        try:
            found.append((position[annotation["image_id"]], column[annotation["category_id"]]))
        except KeyError as error:
            raise file.wrong(f"lacks or does not know {error} of annotation {number}") from error
        except TypeError as error:
            raise file.wrong(f"has a broken annotation {number}: {error}") from error
    if not found:
        raise file.wrong("has no annotations")
    image_of, category_of = np.array(found, dtype=np.int64).T
    return image_of, category_of


def _boxes(file: CocoFile) -> Float64[np.ndarray, "m 4"]:
    rows = []
    for number, annotation in enumerate(file.annotations):
        box = annotation.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_length, box)):
            raise file.wrong(f"has no bbox of four numbers in annotation {number}: {box!r}")
        rows.append(box)
    boxes = np.array(rows, dtype=np.float64)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _is_length(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _LONGEST  # false for NaN, too


def _sizes(file: CocoFile, position: Mapping[Any, int]) -> Float64[np.ndarray, "n 2"]:
    """Return width and height of every photograph, infinite where the file does not tell them."""
    told = [[file.images[key].get(side) for side in ("width", "height")] for key in position]
    return np.array([size if all(type(s) is int and s > 0 for s in size) else [np.inf] * 2 for size in told])


def _cut(
    boxes: Float64[np.ndarray, "m 4"], image_of: Int64[np.ndarray, " m"], sizes: Float64[np.ndarray, "n 2"]
) -> Float64[np.ndarray, "m 4"]:
    return np.clip(boxes, 0, np.tile(sizes[image_of], 2))


def _captions(path: Path, instances: CocoFile, position: Mapping[Any, int]) -> tuple[tuple[str, ...], ...]:
    """Return the captions of every photograph; those of others are left out."""
    file = read_coco_file(path)
    row_of_name = {instances.images[key]["file_name"]: row for key, row in position.items()}
    texts: list[list[str]] = [[] for _ in position]
    for number, annotation in enumerate(file.annotations):
        try:
            row = row_of_name.get(file.images[annotation["image_id"]]["file_name"])
            text = annotation["caption"]
        except (KeyError, TypeError) as error:
            raise file.wrong(f"lacks or does not know {error} of annotation {number}") from error
        if type(text) is not str:
            raise file.wrong(f"has no text as the caption of annotation {number}: {text!r}")
        if row is not None and text.strip():
            texts[row].append(" ".join(text.split()))
    if not any(texts):
        raise CallError(
            f"no caption of {path} belongs to a photograph of {instances.path}. Expected two files of one split, such "
            "as instances_train2017.json and captions_train2017.json. Name the other one, or leave the captions out."
        )
    return tuple(tuple(found) for found in texts)
