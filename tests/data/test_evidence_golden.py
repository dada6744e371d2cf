"""Masks of the published programs, from synthetic annotations (tests/golden/rationality/README.md)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Bool
from PIL import Image

from vlm_data.evidence.boxes import boxes_in_clean_crop, boxes_mask
from vlm_data.evidence.mask_files import mask_levels
from vlm_data.evidence.polygons import polygon_mask
from vlm_data.preprocess import Preprocess
from vlm_data.transforms import evaluation_mask

GOLDEN = Path(__file__).parents[1] / "golden/rationality"
ANNOTATIONS: dict[str, list[dict[str, Any]]] = json.loads((GOLDEN / "masks.json").read_text())
SQUARE, LARGER = Preprocess(224), Preprocess(224, resize_side=256)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "masks.npz") as content:
        return dict(content)


def published(arrays: dict[str, np.ndarray], name: str) -> list[Bool[np.ndarray, "224 224"]]:
    packed = arrays[f"{name}_masks_packed"]
    return list(np.unpackbits(packed, axis=1).reshape(-1, 224, 224).astype(bool))


def overlap(one: Bool[np.ndarray, "h w"], two: Bool[np.ndarray, "h w"]) -> float:
    return float((one & two).sum() / max(1, (one | two).sum()))


def test_outlines(arrays: dict[str, np.ndarray]):
    found = 0
    for entry, expected in zip(ANNOTATIONS["caltech"], published(arrays, "caltech"), strict=True):
        top, _, left, _ = entry["box_coord"]
        points = np.array(entry["obj_contour"]).T.astype(np.int32) + np.array([left, top], dtype=np.int32)
        outline = polygon_mask(points, (entry["width"], entry["height"]))
        assert overlap(evaluation_mask(outline, SQUARE), expected) >= 0.98
        found += 1
    assert found == 5


def test_boxes_of_which_the_last_counts(arrays: dict[str, np.ndarray]):
    areas = []
    for entry, expected in zip(ANNOTATIONS["dogs"], published(arrays, "dogs"), strict=True):
        size = (entry["width"], entry["height"])
        last = boxes_mask(np.array(entry["boxes_xyxy"][-1:]), size)
        # they resize 0 and 1, not 0 and 255, and take every pixel that is left: exactly this
        assert np.array_equal(evaluation_mask(last.astype(np.uint8), SQUARE, level=1), expected)
        ours = evaluation_mask(last, SQUARE)
        assert np.count_nonzero(ours ^ expected) <= 1
        areas.append(int(ours.sum()))
        union = boxes_mask(np.array(entry["boxes_xyxy"]), size)
        assert not (ours & ~evaluation_mask(union, SQUARE)).any()
    assert areas[-1] == 0  # its object is cropped away
    assert len(ANNOTATIONS["dogs"][1]["boxes_xyxy"]) == 2


def test_soft_segmentations(arrays: dict[str, np.ndarray], tmp_path: Path):
    path = tmp_path / "mask.png"
    for number, expected in enumerate(published(arrays, "cub")):
        levels = arrays[f"cub_segmentation_{number}"]
        Image.fromarray(levels).save(path)
        assert np.array_equal(mask_levels(path), levels)
        assert np.array_equal(evaluation_mask(levels, LARGER, level=255), expected)
        unanimous = mask_levels(path) >= 255
        assert overlap(evaluation_mask(unanimous, LARGER, level=255), expected) >= 0.998
        assert evaluation_mask(mask_levels(path) >= 128, LARGER).sum() > expected.sum()


def test_boxes_moved_by_their_corners(arrays: dict[str, np.ndarray]):
    for entry, expected in zip(ANNOTATIONS["imagenet"], published(arrays, "imagenet"), strict=True):
        size, boxes = (entry["width"], entry["height"]), np.array(entry["boxes_xyxy"])
        assert np.array_equal(boxes_mask(boxes_in_clean_crop(boxes, size), (224, 224)), expected)
        moved_pixels = evaluation_mask(boxes_mask(boxes, size), LARGER)
        assert overlap(moved_pixels, expected) >= 0.85
