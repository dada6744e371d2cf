"""Contact sheets of discovered clusters: their regions in their images, with true and predicted class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from PIL import Image, ImageDraw

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError, listing
from vlm_data.tables import Predictions
from vlm_explain.discovery import Discovery, Finding
from vlm_explain.pictures.colours import EVIDENCE, INK, RIGHT, WRONG
from vlm_explain.pictures.overlay import overlay
from vlm_explain.pictures.sheet import Panel, Row, sheet, write_picture

_LINE = 3


def write_cluster_sheets(
    discovery: Discovery,
    dataset: ImageDataset,
    predictions: Predictions,
    folder: str | Path,
    *,
    count: int = 5,
    per_cluster: int = 8,
) -> list[Path]:
    """Write `cluster-ID.png` for the best clusters and return the paths.

    Without findings the clusters that came closest are drawn; the heading says what they did not pass.

    Args:
        discovery: what was found.
        dataset: the images of its regions.
        predictions: the answers it judged.
        folder: for the pictures.
        count: how many clusters.
        per_cluster: images of each kind.

    Raises:
        CallError: if the data set or the predictions lack images of the regions.
    """
    return [
        write_picture(
            cluster_sheet(discovery, finding, dataset, predictions, per_cluster=per_cluster),
            Path(folder) / f"cluster-{finding.cluster}.png",
        )
        for finding in discovery.clusters[:count]
    ]


def cluster_sheet(
    discovery: Discovery,
    finding: Finding,
    dataset: ImageDataset,
    predictions: Predictions,
    *,
    per_cluster: int = 8,
    side: int = 128,
) -> Image.Image:
    """Draw one cluster: the images whose region is most like its medoid, then wrong answers on images that hold it.

    Args:
        discovery: what was found.
        finding: the cluster.
        dataset: the images of its regions.
        predictions: the answers it judged.
        per_cluster: images in a row, at least 1.
        side: of an image in pixels.

    Raises:
        CallError: if the data set or the predictions lack images of the regions, or a row holds no image.
    """
    if per_cluster < 1:
        raise CallError(f"rows of {per_cluster} images show nothing; expected at least 1.")
    regions = discovery.regions
    place = _places(regions.image_ids, dataset.ids, f"the data set {dataset.name} ({dataset.split})")
    answer = _places(regions.image_ids, predictions.ids, "the predictions")
    clusters = regions.clusters if regions.clusters is not None else np.zeros(len(regions), dtype=np.int64)
    members = np.flatnonzero(clusters == finding.cluster)
    wrong = ~predictions.correct[answer]

    def panels(rows: Int64[np.ndarray, " k"]) -> list[Panel | None]:
        drawn: list[Panel | None] = []
        for row in _one_per_image(rows, place)[:per_cluster]:
            image = np.asarray(dataset.image(int(place[row])))
            boxes = regions.boxes[members[place[members] == place[row]]]
            picture = _outlined(overlay(image, side=side), boxes, side / max(image.shape[:2]))
            drawn.append(Panel(picture, _words(predictions, int(answer[row]), discovery.class_names)))
        return drawn

    ranked = np.asarray(finding.ranked, dtype=np.int64)
    errors = ranked[wrong[ranked]] if wrong[ranked].sum() >= per_cluster else members[wrong[members]]
    shown = len(set(answer[members[wrong[members]]].tolist()))
    rows = [Row(panels(ranked), f"most like the middle of the cluster ({finding.images} images hold a region of it)")]
    if shown:
        rows.append(Row(panels(errors), f"wrong answers on images that hold it: {shown}"))
    return sheet(rows, heading=_heading(finding), outline="region of the cluster", maps=False)


def _heading(finding: Finding) -> str:
    what = "absence goes with" if finding.is_absence else "goes with"
    judged = f"rank {finding.rank}: {what} {finding.attribute!r}" if finding.rank else "no finding"
    facts = [f"cluster {finding.cluster}, {judged}"]
    facts.append(f"gap score {finding.gap_score:.2f}")
    if finding.p_value is not None:
        facts.append(f"p {finding.p_value:.2g}")
    if finding.failed:
        facts.append(f"failed: {', '.join(finding.failed)}")
    return ", ".join(facts)


def _words(predictions: Predictions, row: int, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    label, said = names[int(predictions.labels[row])], names[int(predictions.predicted[row])]
    right = bool(predictions.correct[row])
    told = (f"said {said}", RIGHT if right else WRONG)
    return (label, INK), told if not right else ("right", RIGHT)


def _places(wanted: Sequence[str], ids: Sequence[str], what: str) -> Int64[np.ndarray, " k"]:
    position = {name: row for row, name in enumerate(ids)}
    missing = sorted({name for name in wanted if name not in position})
    if missing:
        raise CallError(
            f"{what} lacks {len(missing)} images of the discovery: {listing(missing, 3)}. Expected the images that it "
            "was made on."
        )
    return np.array([position[name] for name in wanted], dtype=np.int64)


def _one_per_image(rows: Int64[np.ndarray, " k"], place: Int64[np.ndarray, " k"]) -> list[int]:
    first: dict[int, int] = {}
    for row in rows:
        first.setdefault(int(place[row]), int(row))
    return list(first.values())


def _outlined(picture: Image.Image, boxes: Float64[np.ndarray, "k 4"], scale: float) -> Image.Image:
    """Draw boxes: thick and with a dark line around, to be seen on any colour and at the edge of the image."""
    draw = ImageDraw.Draw(picture)
    edge = np.array([picture.width - 1, picture.height - 1] * 2)
    for box in np.clip((boxes * scale).round() - [0, 0, 1, 1], 0, edge).tolist():
        draw.rectangle(box, outline="#000000", width=_LINE + 1)
        draw.rectangle(box, outline=EVIDENCE, width=_LINE)
    return picture
