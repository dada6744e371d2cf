"""Reading published data sets from the folders their authors hand out: where they lie, which class a folder is."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vlm_data.class_folders import class_folders
from vlm_data.errors import CallError, DataLayoutError, listing
from vlm_data.file_benchmark import FileList

Labelled = tuple[str, Path, int, str]
"""Id, file, label and split of one image."""


def data_root(name: str, source: str, root: Path | None) -> Path:
    """Return the folder that a published data set is looked for in: `--data-root`, else the current folder.

    Raises:
        CallError: if something follows the name.

    Example:
        >>> data_root("sst2", "", Path("data")).as_posix()
        'data'
    """
    if source:
        raise CallError(f"'{name}:{source}' names a source, but {name} is found by name; write --data {name}.")
    return (root or Path()).expanduser()


def named_options(name: str, source: str, options: Sequence[str]) -> tuple[str, ...]:
    """Return which options of a published data set stand after its name, as in `cub:sorted,unanimous`.

    Args:
        name: of the data set.
        source: what stands after the colon, words separated by commas.
        options: all there are; those that are chosen come in this order.

    Raises:
        CallError: for a word that is none of them.

    Example:
        >>> named_options("cub", "unanimous,sorted", ("sorted", "unanimous")), named_options("cub", "", ("sorted",))
        (('sorted', 'unanimous'), ())
    """
    words = set(source.split(",")) if source else set[str]()
    if not words <= set(options):
        known = ", ".join(f"{name}:{option}" for option in options)
        raise CallError(
            f"'{name}:{source}' names a source, but {name} is found by name; write --data {name}, or one of: {known}."
        )
    return tuple(option for option in options if option in words)


def first_folder(root: Path, names: Sequence[str]) -> Path | None:
    """Return the first of these paths below a folder that is a folder itself, or None."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def require_folder(data: str, root: Path, names: Sequence[str]) -> Path:
    """Return the first of these paths below a folder that is a folder itself.

    Raises:
        DataLayoutError: if there is none of them.
    """
    found = first_folder(root, names)
    if found is None:
        raise DataLayoutError(
            f"{data} is not below {root}: there is no folder {' or '.join(names)}. "
            f"Expected the data as its authors hand it out (`vlm data show {data} --layout`). "
            "Say with --data-root where it lies."
        )
    return found


def labelled_images(folder: Path, label_of: Mapping[str, int], split: str, prefix: str) -> list[Labelled]:
    """Return the images of every class folder that stands for a class, in order; other folders are passed over.

    Args:
        folder: holds the class folders.
        label_of: label of each class folder that is wanted.
        split: what these images are for.
        prefix: what ids begin with; class folder and file name follow.

    Raises:
        DataLayoutError: see `vlm_data.class_folders.class_folders`.
    """
    return [
        (f"{prefix}/{name}/{path.name}", path, label_of[name], split)
        for name, paths in sorted(class_folders(folder).items(), key=lambda item: label_of.get(item[0], -1))
        if name in label_of
        for path in paths
    ]


def check_folders(folder: Path, known: Mapping[str, int], what: str) -> set[str]:
    """Return the names of the class folders in a folder.

    Raises:
        DataLayoutError: if a folder stands for no class.
    """
    found = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    strange = sorted(found - known.keys())
    if strange:
        raise DataLayoutError(
            f"{folder} has folders that are no classes: {listing(strange)}. "
            f"Expected {what}, such as {listing(sorted(known), most=3)}. Rename or remove them."
        )
    return found


def require_files(data: str, folder: Path, names: Sequence[str]) -> None:
    """Check that files are in a folder, which the disk is asked for once.

    Raises:
        DataLayoutError: if some are not there; the first ones are named.
    """
    present = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set[str]()
    absent = [name for name in names if name not in present]
    if absent:
        raise DataLayoutError(
            f"{len(absent)} of {len(names)} images of {data} are not in {folder}: {listing(absent, most=3)}. "
            "Expected the whole archive. Unpack it again."
        )


def file_list(images: Sequence[Labelled]) -> FileList:
    """Return images of any number of splits as what `vlm_data.file_benchmark.file_benchmark` sorts."""
    return FileList(
        ids=tuple(image for image, _, _, _ in images),
        paths=tuple(path for _, path, _, _ in images),
        labels=np.array([label for _, _, label, _ in images], dtype=np.int64),
        splits=np.array([split for _, _, _, split in images], dtype=object),
    )


def same_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return a note about classes that have the same name, none if there are none.

    Their zero-shot weights are equal, so the one with the lower label wins every time (argmax takes the first).

    Example:
        >>> same_names(["missile", "tench", "missile"])
        ("1 class name stands for several classes: 'missile'. No prompt can tell these classes apart.",)
    """
    twice = [name for name, count in Counter(class_names).items() if count > 1]
    if not twice:
        return ()
    several = f"{len(twice)} class name{'s stand' if len(twice) > 1 else ' stands'} for several classes"
    return (f"{several}: {listing(twice)}. No prompt can tell these classes apart.",)
