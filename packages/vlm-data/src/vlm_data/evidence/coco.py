"""Objects in the JSON format of COCO: outlines, run lengths or boxes per image."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vlm_data.errors import DataLayoutError
from vlm_data.evidence.annotated import AnnotationFile, MarkedObject
from vlm_data.evidence.shapes import Box, Outline, Runs, Shape


def read_coco(path: Path) -> AnnotationFile:
    """Read images, annotations and categories; a segmentation goes before the box.

    Images without an annotation are left out: nothing is known about them.

    Raises:
        DataLayoutError: if the file is no JSON of this format, an annotation belongs to no image or category, a file
            name occurs twice, or a shape is none; the entry is named.
    """
    try:
        data = path.read_bytes()
        document = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(path, f"is no JSON: {error}") from error
    lists = document if isinstance(document, dict) else {}
    lacking = [key for key in ("images", "annotations") if not isinstance(lists.get(key), list)]
    lacking += ["categories"] * (not isinstance(lists.get("categories", []), list))
    if lacking:
        raise _wrong(path, f"has no list of {' or '.join(lacking)}")
    images = _by_id(path, document, "images", "file_name")
    categories = _by_id(path, document, "categories", "name") if document.get("categories") else {}
    _check_file_names(path, images)
    objects: dict[str, list[MarkedObject]] = {}
    for number, annotation in enumerate(document["annotations"]):
        try:
            name, category = images[annotation["image_id"]]["file_name"], ""
            if categories:
                category = categories[annotation["category_id"]]["name"]
            objects.setdefault(name, []).extend(MarkedObject(shape, category) for shape in _shapes(annotation))
        except KeyError as error:
            raise _wrong(path, f"lacks or does not know {error} of annotation {number}") from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _wrong(path, f"has a broken annotation {number}: {error}") from error
    if not objects:
        raise _wrong(path, "has no annotations, so it is evidence for no image")
    told = [image for image in images.values() if all(type(image.get(side)) is int for side in ("width", "height"))]
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in told}
    return AnnotationFile(path, hashlib.sha256(data).hexdigest(), objects, sizes)


def _by_id(path: Path, document: Mapping[str, Any], key: str, field: str) -> dict[Any, Mapping[str, Any]]:
    """Return the entries of a list by their id, after checking that each has one of its own, and a text in a field."""
    found: dict[Any, Mapping[str, Any]] = {}
    for number, entry in enumerate(document[key]):
        if not isinstance(entry, dict) or type(entry.get("id")) not in (int, str) or type(entry.get(field)) is not str:
            raise _wrong(path, f"has no id or no {field} in entry {number} of {key}")
        if entry["id"] in found:
            raise _wrong(path, f"has the id {entry['id']} twice in {key}")
        found[entry["id"]] = entry
    return found


def _check_file_names(path: Path, images: Mapping[Any, Mapping[str, Any]]) -> None:
    seen: set[str] = set()
    for image in images.values():
        if image["file_name"] in seen:
            raise _wrong(path, f"has the file name {image['file_name']!r} twice in images")
        seen.add(image["file_name"])


def _shapes(annotation: Mapping[str, Any]) -> list[Shape]:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        height, width = segmentation["size"]
        counts = segmentation["counts"]
        if not isinstance(counts, str) and not all(type(count) is int for count in counts):
            raise ValueError("its run lengths are neither a text nor whole numbers")
        return [Runs(counts, (width, height))]
    if segmentation:
        return [Outline(_points(numbers)) for numbers in segmentation]
    x, y, width, height = annotation["bbox"]
    return [Box(float(x), float(y), float(x) + float(width), float(y) + float(height))]


def _points(numbers: Any) -> np.ndarray:
    if not isinstance(numbers, list) or len(numbers) % 2:
        raise ValueError("an outline is no list of x and y in turn")
    return np.array(numbers, dtype=np.float64).reshape(-1, 2)


def _wrong(path: Path, what: str) -> DataLayoutError:
    return DataLayoutError(
        f"{path} {what}. Expected the format of COCO: images with id and file_name, annotations with image_id and "
        "segmentation or bbox, and categories with id and name. Correct the file or export it again."
    )
