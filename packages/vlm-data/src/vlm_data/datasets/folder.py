"""Images sorted into class folders, with or without split folders: `folder:DIR`."""

import dataclasses
from pathlib import Path

import numpy as np

from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.class_folders import SUFFIXES, class_folders, scan
from vlm_data.errors import DataLayoutError, listing
from vlm_data.evidence.own import EVIDENCE_LAYOUT, MASK_FOLDER, own_evidence
from vlm_data.file_benchmark import (
    SHIFT_PREFIX,
    SPLIT_WORDS,
    FileList,
    check_coverage,
    file_benchmark,
    source_path,
)
from vlm_data.text_files import class_names_in, templates_in

_SHIFTS = "shifts"

INFO = DatasetInfo(
    summary="your own images, one folder per class",
    spec="folder:DIR",
    layout="""\
DIR/train/CLASS/*.jpg   and, where you have them, DIR/val/... (or valid, validation) and DIR/test/...
DIR/CLASS/*.jpg         instead, without splits: 80/10/10 per class are drawn with the seed
DIR/shifts/NAME/CLASS/* test images of the same classes (or some of them) under another distribution
DIR/classnames.txt      optional lines 'CLASS<TAB>display name'; else the folder name with '_' read as a space
DIR/templates.txt       optional, one prompt a line with {c}; else 'a photo of a {c}.'
Missing val and test are drawn from train, a tenth of each class. Read are """
    + " ".join(SUFFIXES)
    + "; hidden files are ignored.\n"
    + EVIDENCE_LAYOUT,
)


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the tree of folders; no image is opened.

    Raises:
        DataLayoutError: if the folder is missing or not laid out as `INFO.layout` says.
    """
    folder = source_path("folder", source, root)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataLayoutError(
            f"{folder} {what}. Expected a folder with one folder of images per class. "
            "Check the path; relative ones start at --data-root, else at the current folder."
        )
    trees = {
        split: class_folders(path, besides=(_SHIFTS, MASK_FOLDER)) for split, path in _split_folders(folder).items()
    }
    keys = sorted(trees["train"])
    _check_same_classes(folder, trees)
    files = _file_list(folder, trees, keys)
    name = folder.resolve().name or "folder"
    shown = class_names_in(folder, keys, {key: key.replace("_", " ") for key in keys})
    check_coverage(name, shown, files)
    words = {word: label for listed in (keys, shown) for label, word in enumerate(listed)}
    files = dataclasses.replace(files, evidence_source=own_evidence(folder, files.ids, files.labels, words))
    return file_benchmark(name, shown, templates_in(folder), files, seed)


def _split_folders(folder: Path) -> dict[str, Path]:
    """Return where each split and shift lies; a folder without split folders is all `train`."""
    folders = {path.name: path for path in scan(folder)[0]}
    found: dict[str, Path] = {}
    for word, split in SPLIT_WORDS.items():
        path = folders.get(word)
        if path and scan(path)[0]:  # a class may be called "train" too: it holds images, not folders
            if split in found:
                raise DataLayoutError(
                    f"{folder} has two folders for the {split} split, {found[split].name} and {word}. "
                    "Expected one. Merge or rename them."
                )
            found[split] = path
    only_splits = bool(folders) and folders.keys() <= {*SPLIT_WORDS, _SHIFTS, MASK_FOLDER}
    if "train" not in found and (found or only_splits):
        raise DataLayoutError(
            f"{folder} has {listing(sorted(folders))} but no 'train' with class folders. "
            "Expected DIR/train/CLASS/*.jpg. Sort the images into class folders below train, "
            "or into DIR/CLASS to have the splits drawn."
        )
    hollow = sorted(folders.keys() & SPLIT_WORDS.keys() - {path.name for path in found.values()}) if found else []
    if hollow:  # drawing this split from train would leave out the images it was meant to have
        raise DataLayoutError(
            f"{folder / hollow[0]} has no class folders, unlike {found['train']}. "
            f"Expected {hollow[0]}/CLASS/*.jpg. Sort its images so, or remove it to have the split drawn."
        )
    shifts = scan(folders[_SHIFTS])[0] if _SHIFTS in folders else []
    return {**(found or {"train": folder}), **{SHIFT_PREFIX + path.name: path for path in shifts}}


def _check_same_classes(folder: Path, trees: dict[str, dict[str, list[Path]]]) -> None:
    for split in ("val", "test"):
        if split in trees and trees[split].keys() != trees["train"].keys():
            only_train = sorted(trees["train"].keys() - trees[split].keys())
            only_split = sorted(trees[split].keys() - trees["train"].keys())
            differences = [
                f"only in {where}: {listing(names)}"
                for where, names in (("train", only_train), (split, only_split))
                if names
            ]
            raise DataLayoutError(
                f"the class folders of train and {split} in {folder} differ; {'; '.join(differences)}. "
                "Expected the same classes in both. Add, rename or remove the folders named."
            )
    if len(trees["train"]) < 2:
        raise DataLayoutError(
            f"{folder} has one class folder, {next(iter(trees['train']))!r}. Expected two or more classes. "
            "Check that DIR is the folder right above the class folders (or above train)."
        )


def _file_list(folder: Path, trees: dict[str, dict[str, list[Path]]], keys: list[str]) -> FileList:
    label_of = {key: label for label, key in enumerate(keys)}
    for split, classes in trees.items():
        strange = sorted(classes.keys() - label_of.keys())
        if strange:
            raise DataLayoutError(
                f"shift {split.removeprefix(SHIFT_PREFIX)!r} of {folder} has class folders that train has not: "
                f"{listing(strange)}. Expected the classes of train or some of them. Rename or remove them."
            )
    rows = [
        (path, label_of[key], split)
        for split, classes in trees.items()
        for key, paths in sorted(classes.items())
        for path in paths
    ]
    return FileList(
        ids=tuple(path.relative_to(folder).as_posix() for path, _, _ in rows),
        paths=tuple(path for path, _, _ in rows),
        labels=np.array([label for _, label, _ in rows], dtype=np.int64),
        splits=np.array([split for _, _, split in rows], dtype=object),
    )
