"""Objects in the JSON format of COCO: outlines, run lengths or boxes per image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vlm_data.coco_files import read_coco_file
from vlm_data.evidence.annotated import AnnotationFile, MarkedObject
from vlm_data.evidence.shapes import Box, Outline, Runs, Shape


def read_coco(path: Path) -> AnnotationFile:
    """Read images, annotations and categories; a segmentation goes before the box.

    Images without an annotation are left out: nothing is known about them.

    Raises:
        DataLayoutError: if the file is no JSON of this format, an annotation belongs to no image or category, a file
            name occurs twice, or a shape is none; the entry is named.
    """
    file = read_coco_file(path)
    images, categories = file.images, file.categories
    objects: dict[str, list[MarkedObject]] = {}
    for number, annotation in enumerate(file.annotations):
        try:
            name, category = images[annotation["image_id"]]["file_name"], ""
            if categories:
                category = categories[annotation["category_id"]]["name"]
            objects.setdefault(name, []).extend(MarkedObject(shape, category) for shape in _shapes(annotation))
        except KeyError as error:
            raise file.wrong(f"lacks or does not know {error} of annotation {number}") from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise file.wrong(f"has a broken annotation {number}: {error}") from error
    if not objects:
        raise file.wrong("has no annotations, so it is evidence for no image")
    told = [image for image in images.values() if all(type(image.get(side)) is int for side in ("width", "height"))]
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in told}
    return AnnotationFile(path, file.content_hash, objects, sizes)


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
