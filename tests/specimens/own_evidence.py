"""Somebody's own images of two classes, and evidence beside them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from vlm_data import load_benchmark
from vlm_data.dataset import ImageDataset

NAMES = [
    f"{split}/{kind}/{i}.png" for split in ("train", "val", "test") for kind in ("cat", "great_dane") for i in "01"
]
SIZE = (12, 10)


def mask_of(folder: Path, sample_id: str, spec: str = "folder:") -> Bool[np.ndarray, "h w"] | None:
    benchmark = load_benchmark(f"{spec}{folder}")
    for dataset in (benchmark.train, benchmark.val, benchmark.test):
        if sample_id in dataset.ids:
            return dataset.evidence(dataset.ids.index(sample_id))
    raise AssertionError(f"{sample_id} is in no split")


def rectangle(x1: int, y1: int, x2: int, y2: int) -> Bool[np.ndarray, "h w"]:
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def write_mask(path: Path, mask: Bool[np.ndarray, "h w"], white: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * np.uint8(white)).save(path)


def known(dataset: ImageDataset) -> list[str]:
    return [name for row, name in enumerate(dataset.ids) if dataset.evidence(row) is not None]


def coco(*annotations: dict[str, Any], names: Iterable[str] = NAMES, **changes: Any) -> str:
    images = [{"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for i, name in enumerate(names)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "Great Dane"}, {"id": 3, "name": "ball"}]
    document = {"images": images, "annotations": list(annotations), "categories": categories}
    return json.dumps({key: value for key, value in (document | changes).items() if value is not None})


TEST_CAT, TEST_DOG = NAMES.index("test/cat/0.png"), NAMES.index("test/great_dane/0.png")
BOX = {"image_id": TEST_CAT, "category_id": 1, "bbox": [2, 3, 5, 6]}
