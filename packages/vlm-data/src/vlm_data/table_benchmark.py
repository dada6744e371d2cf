"""From a table of images to a benchmark: by labels where there are any, else by captions."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vlm_data.benchmark import Benchmark
from vlm_data.dataset import UNLABELLED
from vlm_data.errors import DataLayoutError, listing
from vlm_data.evidence.annotation_files import AnnotationFiles
from vlm_data.evidence.mask_files import object_mask
from vlm_data.evidence.own import BOX_FILE, COCO_FILE, own_evidence
from vlm_data.evidence.source import EvidenceSource
from vlm_data.file_benchmark import FileList, check_coverage, complete_splits, file_benchmark
from vlm_data.image_table import ImageTable
from vlm_data.text_files import CAPTION_AS_CLASS, class_names_in, templates_in


def existing_table(path: Path) -> Path:
    """Return the path after checking that it is a file with something in it.

    Raises:
        DataLayoutError: if there is no such file, or it is empty.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        advice = f"To read class folders write folder:{path}" if path.is_dir() else "Check the path"
        raise DataLayoutError(
            f"table {path} {what}; expected a file. {advice}; relative paths start at --data-root, else here."
        )
    if path.stat().st_size == 0:
        raise DataLayoutError(f"{path} is empty; expected a table with one row per image. Write it again.")
    return path


def table_benchmark(table: ImageTable, path: Path, root: Path | None, seed: int) -> Benchmark:
    """Make the benchmark of a table.

    With labels it is a classification problem; captions, where there are any, are what contrastive methods train on.
    Without labels it is image-to-text retrieval written as classification: the classes are the distinct first
    captions of all images that are tested, so accuracy is recall at 1. Further captions of these images are no
    classes: they would count a right answer as wrong. A training image is labelled when a caption of it is a class.

    Args:
        table: one entry per image.
        path: of the table, for names and messages.
        root: folder that image paths start from; the table's own folder by default.
        seed: of the draw of missing splits.

    Raises:
        DataLayoutError: for missing image files and classes that cannot be told apart, trained or tested.
    """
    n = len(table.images)
    files = FileList(
        ids=table.images,
        paths=_existing(table.images, "images", root or path.parent, path),
        labels=np.full(n, UNLABELLED, dtype=np.int64),
        splits=np.array(table.splits or ["train"] * n, dtype=object),
        captions=table.captions,
    )
    if not table.labels:
        files = dataclasses.replace(files, evidence_source=_evidence(table, files, {}, root, path))
        return _retrieval(path.stem, files, seed)
    keys = _class_keys(table.labels)
    if len(keys) < 2:
        raise DataLayoutError(f"{path} has one label, {keys[0]!r}. Expected two or more classes. Correct the labels.")
    numbers = all(_is_number(key) for key in keys)
    names = class_names_in(path.parent, keys, {key: f"class {key}" if numbers else key for key in keys})
    label_of = {key: label for label, key in enumerate(keys)}
    labels = np.array([label_of[key] for key in table.labels], dtype=np.int64)
    files = dataclasses.replace(files, labels=labels)
    words = {word: label for listed in (keys, names) for label, word in enumerate(listed)}
    files = dataclasses.replace(files, evidence_source=_evidence(table, files, words, root, path))
    check_coverage(path.stem, names, files)
    return file_benchmark(path.stem, names, templates_in(path.parent), files, seed)


def _evidence(
    table: ImageTable, files: FileList, class_words: Mapping[str, int], root: Path | None, path: Path
) -> EvidenceSource | None:
    """Return the masks of the column where there is one (they may lie anywhere), else what lies beside the table."""
    if not any(table.masks):
        return own_evidence(path.parent, files.ids, files.labels, class_words, besides=path)
    other = [name for name in (COCO_FILE, BOX_FILE) if (path.parent / name).is_file() and path.name != name]
    if other:
        raise DataLayoutError(
            f"{path} has a column of masks, and {' and '.join(other)} beside it. Expected one of them: they may "
            "contradict each other. Remove the others."
        )
    marked = [(sample_id, mask) for sample_id, mask in zip(files.ids, table.masks, strict=True) if mask]
    paths = _existing(tuple(mask for _, mask in marked), "masks", root or path.parent, path)
    named = {sample_id: file for (sample_id, _), file in zip(marked, paths, strict=True)}
    return AnnotationFiles(named, object_mask, "object")


def _existing(images: tuple[str, ...], kind: str, base: Path, path: Path) -> tuple[Path, ...]:
    paths = tuple(base / image for image in images)
    missing = [str(file) for file in paths if not file.is_file()]
    if missing:
        raise DataLayoutError(
            f"{len(missing)} of the {len(paths)} {kind} in {path} do not exist: {listing(missing, most=3)}. "
            f"Expected paths relative to {base}. Correct them, or say with --data-root where they start."
        )
    return paths


def _is_number(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


def _class_keys(labels: tuple[str, ...]) -> list[str]:
    distinct = set(labels)
    return sorted(distinct, key=int) if all(_is_number(label) for label in distinct) else sorted(distinct)


def _retrieval(name: str, files: FileList, seed: int) -> Benchmark:
    splits = complete_splits(files.splits, files.labels, files.ids, (), seed)
    tested = np.flatnonzero(splits != "train").tolist()
    class_names = sorted({files.captions[row][0] for row in tested})
    label_of = {caption: label for label, caption in enumerate(class_names)}
    labels = [
        next((label_of[caption] for caption in captions if caption in label_of), UNLABELLED)
        for captions in files.captions
    ]
    for row in tested:  # not one of its further captions, which may be another image's first
        labels[row] = label_of[files.captions[row][0]]
    files = dataclasses.replace(files, labels=np.array(labels, dtype=np.int64), splits=splits)
    return file_benchmark(name, class_names, CAPTION_AS_CLASS, files, seed)
