"""Evidence that lies beside somebody's own images, under one of three fixed names."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64

from vlm_data.errors import DataLayoutError, listing
from vlm_data.evidence.annotated import marked_objects
from vlm_data.evidence.annotation_files import AnnotationFiles
from vlm_data.evidence.box_table import read_box_table
from vlm_data.evidence.coco import read_coco
from vlm_data.evidence.mask_files import object_mask
from vlm_data.evidence.source import EvidenceSource

MASK_FOLDER, COCO_FILE, BOX_FILE = "evidence", "evidence.json", "evidence.csv"
_READERS = {COCO_FILE: read_coco, BOX_FILE: read_box_table}

EVIDENCE_LAYOUT = """\
One of these in DIR, or beside the table, tells what a right answer should rest on; images it does not name have none:
evidence/PATH.png  for the image PATH.jpg: a mask of the same size, white on the evidence
evidence.json      outlines, run lengths or boxes in the format of COCO; file_name may leave out the first folders
evidence.csv       boxes: columns image, x1, y1, x2, y2 in pixels (x2, y2 exclusive) and, if wanted, class
If categories are called like classes, only objects of the class of their image are evidence, else all are."""


def own_evidence(
    folder: Path,
    ids: Sequence[str],
    labels: Int64[np.ndarray, " n"],
    class_words: Mapping[str, int],
    *,
    besides: Path | None = None,
) -> EvidenceSource | None:
    """Return the evidence that lies in a folder as `EVIDENCE_LAYOUT` says, or None; no image is opened.

    Args:
        folder: of the data.
        ids: n sample ids, paths below the folder.
        labels: (n,) class of each image, negative where unknown.
        class_words: what classes are called, and which they are.
        besides: a file that is something else, whatever it is called.

    Raises:
        DataLayoutError: if there are two kinds, or what there is does not fit the images.
    """
    found = [folder / name for name in _READERS if (folder / name).is_file() and folder / name != besides]
    masks = folder / MASK_FOLDER
    holds_images = any(sample_id.startswith(MASK_FOLDER + "/") for sample_id in ids)  # a class may be called so
    found += [masks] if masks.is_dir() and not holds_images else []
    if len(found) > 1:
        raise DataLayoutError(
            f"{folder} has {' and '.join(path.name for path in found)}. Expected one of them: they may contradict "
            "each other. Remove the others."
        )
    if not found:
        return None
    if found[0] == masks:
        return AnnotationFiles(_mask_files(masks, ids), object_mask, "object")
    return marked_objects(_READERS[found[0].name](found[0]), ids, labels, class_words)


def _mask_files(folder: Path, ids: Sequence[str]) -> dict[str, Path]:
    """Return the mask of each image that has one: its path with the suffix `.png`, below the folder of masks."""
    stems: dict[str, list[str]] = {}
    for sample_id in ids:
        stems.setdefault(PurePosixPath(sample_id).with_suffix("").as_posix(), []).append(sample_id)
    files: dict[str, Path] = {}
    lost, shared, others = [], [], []
    for name in _files_below(folder):
        stem, suffix = os.path.splitext(name)
        images = stems.get(stem, [])
        if suffix.lower() != ".png":
            others.append(name)
        elif len(images) != 1:
            (shared if images else lost).append(name)
        else:
            shared += [name] * (images[0] in files)
            files[images[0]] = folder / name
    for names, what in ((others, "no PNG files"), (lost, "masks of no image"), (shared, "masks of several images")):
        if names:
            raise DataLayoutError(
                f"{folder} holds {what}: {listing(names)}. Expected one mask for an image, called as the image is: "
                f"{next(iter(stems))}.png for {ids[0]}. Rename or remove these files."
            )
    if not files:
        raise DataLayoutError(f"{folder} holds no masks. Expected {next(iter(stems))}.png for {ids[0]}. Fill it.")
    return files


def _files_below(folder: Path) -> list[str]:
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = Path(place).relative_to(folder)
        found += [(inner / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)
