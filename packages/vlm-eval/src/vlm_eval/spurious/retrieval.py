"""Whether discovery found the planted feature: Precision@K and Recall@K of the top cluster."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Regions
from vlm_eval.metrics.spurious import RANKS, precision_at, random_precision_at, recall_at
from vlm_eval.spurious.discovery_file import DISCOVERY, REGIONS, DiscoveryFile, read_discovery

COVERAGE = 0.5
"""Share of a planted feature that a region has to cover to hold it."""


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """How well the top cluster of a discovery retrieves the planted feature.

    Attributes:
        found: was anything found.
        regions: that were looked at.
        holding: how many of them hold the feature.
        available: regions of the top cluster that are ranked.
        precision: by K; 0 where nothing was found.
        recall: by K; None where no region holds the feature.
        random: expected Precision@K of a random order of all regions.
        attribute: name of the class the top cluster is tied to, None where nothing was found.
        class_found: is it the planted one; None where that is not known.
    """

    found: bool
    regions: int
    holding: int
    available: int
    precision: dict[int, float]
    recall: dict[int, float | None]
    random: dict[int, float]
    attribute: str | None = None
    class_found: bool | None = None

    def document(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        told = dataclasses.asdict(self)
        return told | {
            key: {str(k): value for k, value in told[key].items()} for key in ("precision", "recall", "random")
        }


def judge_discovery(
    folder: str | os.PathLike[str],
    truth: Regions,
    *,
    spurious_class: str | None = None,
    ks: Sequence[int] = RANKS,
    coverage: float = COVERAGE,
) -> Retrieval:
    """Compare the discovery in a folder with what was planted.

    Args:
        folder: that `vlm spurious discover` wrote.
        truth: regions of the same data set with `spurious` told, such as the table of a setting.
        spurious_class: name of the class the feature was tied to.
        ks: numbers of best-ranked regions.
        coverage: see `holds_feature`.

    Raises:
        CallError: if there is no discovery, or its regions lie in other images.
        VlmDataError: if a file is damaged.
    """
    discovery = read_discovery(folder)
    if discovery is None:
        raise CallError(
            f"there is no {DISCOVERY} in {folder}; expected the folder that `vlm spurious discover` writes. Give that "
            "command first."
        )
    regions = Regions.load(Path(folder) / REGIONS)
    found = retrieval(_top_rows(discovery, len(regions)), holds_feature(regions, truth, coverage), ks)
    attribute = discovery.top.attribute if discovery.top else None
    class_found = None if spurious_class is None else attribute == spurious_class
    return dataclasses.replace(found, attribute=attribute, class_found=class_found)


def retrieval(ranked: Int64[np.ndarray, " m"], holds: Bool[np.ndarray, " k"], ks: Sequence[int] = RANKS) -> Retrieval:
    """Return Precision@K and Recall@K.

    Args:
        ranked: rows of the regions of the top cluster, best first; empty where nothing was found.
        holds: whether each region holds the feature.
        ks: numbers of best-ranked regions.

    Example:
        >>> retrieval(np.array([3, 0]), np.array([False, False, True, True]), ks=[1, 2]).precision
        {1: 1.0, 2: 0.5}
    """
    order, total = holds[ranked], int(holds.sum())
    return Retrieval(
        found=len(ranked) > 0,
        regions=len(holds),
        holding=total,
        available=len(ranked),
        precision={k: precision_at(order, k) for k in ks},
        recall={k: recall_at(order, k, total) for k in ks},
        random={k: random_precision_at(holds, k) for k in ks},
    )


def holds_feature(regions: Regions, truth: Regions, coverage: float = COVERAGE) -> Bool[np.ndarray, " k"]:
    """Return whether each region holds a planted feature: it covers at least a share of one in its image.

    Args:
        regions: any boxes; those in images without a row in the truth hold nothing.
        truth: regions of the same images, with `spurious` told.
        coverage: share of the feature's area, above 0 up to 1.

    Raises:
        CallError: if the coverage is not possible, or no region lies in an image of the truth.
        VlmDataError: if the truth does not tell which regions hold the feature.

    Example:
        >>> truth = Regions(("a", "b"), np.array([[0.0, 0, 8, 8], [0, 0, 8, 8]]), spurious=np.array([True, False]))
        >>> boxes = np.array([[4.0, 0, 12, 8], [5, 0, 12, 8], [0, 0, 8, 8]])
        >>> holds_feature(Regions(("a", "a", "b"), boxes), truth)
        array([ True, False, False])
    """
    if not 0 < coverage <= 1:
        raise CallError(f"the coverage is {coverage}; expected a share above 0, up to 1.")
    if truth.spurious is None:
        raise VlmDataError(
            f"the {len(truth)} regions do not tell which of them hold the planted feature. Expected the table of "
            "regions of a setting of `vlm spurious build`."
        )
    images = tuple(dict.fromkeys(truth.image_ids))
    image_of = regions.rows_of(images)
    if len(regions) and (image_of < 0).all():
        raise CallError(
            f"none of the {len(regions)} regions lies in an image that the setting tells regions of; the first lies in "
            f"{regions.image_ids[0]!r}. Expected the setting on which the discovery was made."
        )
    planted = truth.select(truth.spurious)
    known = np.flatnonzero(image_of >= 0)
    holds = np.zeros(len(regions), dtype=bool)
    places = planted.rows_of(images)
    holds[known] = _covers(regions.boxes[known], image_of[known], planted.boxes, places, len(images), coverage)
    return holds


def _covers(
    boxes: np.ndarray, image_of: np.ndarray, planted: np.ndarray, planted_in: np.ndarray, images: int, coverage: float
) -> Bool[np.ndarray, " k"]:
    """Pair every region with the features of its image, and look whether it covers enough of any."""
    order = np.argsort(planted_in, kind="stable")
    counts = np.bincount(planted_in, minlength=images)
    starts = np.cumsum(counts) - counts
    repeats = counts[image_of]
    region = np.repeat(np.arange(len(boxes)), repeats)
    within = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    feature = planted[order[np.repeat(starts[image_of], repeats) + within]]
    corner = np.minimum(boxes[region, 2:], feature[:, 2:]) - np.maximum(boxes[region, :2], feature[:, :2])
    shared = np.clip(corner, 0, None).prod(axis=1)
    enough = shared >= coverage * (feature[:, 2:] - feature[:, :2]).prod(axis=1)
    return np.bincount(region[enough], minlength=len(boxes)) > 0


def _top_rows(discovery: DiscoveryFile, regions: int) -> Int64[np.ndarray, " m"]:
    rows = np.array(discovery.top.ranked if discovery.top else (), dtype=np.int64)
    if len(rows) and not 0 <= rows.min() <= rows.max() < regions:
        raise VlmDataError(
            f"{discovery.folder / DISCOVERY} ranks region {rows.max()}, {REGIONS} has {regions}; expected files of one "
            "discovery. Give `vlm spurious discover` again."
        )
    return rows
