"""A miniature of COCO: photographs with boxed objects and captions, in its files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = {17: "cat", 18: "dog", 63: "couch", 62: "chair"}
"""By id; ids are not in a row, as in COCO."""
SIZE = (48, 40)
CAT, DOG, COUCH = [2, 4, 12, 10], [20, 6, 10.5, 12], [30, 22, 16, 16]
"""x, y, width, height of the object of each category in every photograph that has it."""
_COLOURS = {17: (200, 180, 40), 18: (90, 60, 30), 63: (160, 30, 30)}


def write_coco(
    folder: Path, counts: dict[tuple[int, ...], int], captions: bool = False, name: str = "train2017"
) -> tuple[Path, Path, Path]:
    """Write photographs that show the categories of a key, so many each; return images, instances and captions."""
    images, annotations, texts = [], [], []
    boxes = {17: CAT, 18: DOG, 63: COUCH}
    (folder / name).mkdir(parents=True)
    shown = [categories for categories, count in counts.items() for _ in range(count)]
    for number, categories in enumerate(shown):
        file = f"{number:012d}.png"
        images.append({"id": 1000 + number, "file_name": file, "width": SIZE[0], "height": SIZE[1]})
        photo = np.full((SIZE[1], SIZE[0], 3), number % 200, dtype=np.uint8)
        for category in categories:
            x, y, width, height = (int(side) for side in boxes[category])
            photo[y : y + height, x : x + width] = _COLOURS[category]
            annotations.append(annotation(1000 + number, category, boxes[category], id=len(annotations)))
        words = " and ".join(CATEGORIES[category] for category in categories) or "nothing"
        texts += [{"image_id": 1000 + number, "id": 2 * number + copy, "caption": f"a {words}."} for copy in (0, 1)]
        Image.fromarray(photo).save(folder / name / file)
    instances, told = folder / f"instances_{name}.json", folder / f"captions_{name}.json"
    categories = [{"id": key, "name": word} for key, word in CATEGORIES.items()]
    instances.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    if captions:
        told.write_text(json.dumps({"images": images, "annotations": texts}))
    return folder / name, instances, told


def annotation(image: int, category: int, box: Any, **others: Any) -> dict[str, Any]:
    """Return one entry of a file of instances."""
    return {"image_id": image, "category_id": category, "bbox": box, "iscrowd": 0, **others}
