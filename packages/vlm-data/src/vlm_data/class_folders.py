"""Images sorted into one folder per class: what lies where, asked of the disk once per folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from vlm_data.errors import DataLayoutError, listing

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def scan(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the image files in a folder, sorted; hidden ones and other files are passed over."""
    with os.scandir(folder) as listed:  # asks the disk once per folder, not once per file
        entries = [entry for entry in listed if not entry.name.startswith(".")]
    folders = sorted(entry.name for entry in entries if entry.is_dir())
    images = sorted(entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES) and entry.is_file())
    return [folder / name for name in folders], [folder / name for name in images]


def class_folders(folder: Path, besides: Sequence[str] = ()) -> dict[str, list[Path]]:
    """Return the sorted image files of every class folder.

    Args:
        folder: holds the class folders.
        besides: names of folders that are no classes if they hold folders themselves.

    Raises:
        DataLayoutError: for no class folders, images outside them or deeper, or class folders without images.

    Example:
        >>> import tempfile
        >>> cat = Path(tempfile.mkdtemp()) / "cat"
        >>> cat.mkdir()
        >>> (cat / "0.jpg").touch()
        >>> {name: len(images) for name, images in class_folders(cat.parent).items()}
        {'cat': 1}
    """
    folders, loose = scan(folder)
    contents = {path.name: scan(path) for path in folders}
    for name in besides:
        if contents.get(name, ([], []))[0]:
            del contents[name]
    deep = [path for inner, _ in contents.values() for path in inner if scan(path)[1]]
    if loose or deep or not contents:
        example = (loose + [image for path in deep for image in scan(path)[1]])[:1]
        what = f"found {example[0].relative_to(folder)}" if example else "it holds no folders and no images"
        raise DataLayoutError(
            f"{folder} is not sorted into class folders: {what}. Expected {folder.name}/CLASS/*.jpg. "
            "Move every image directly into the folder of its class."
        )
    empty = [name for name, (_, images) in contents.items() if not images]
    if empty:
        raise DataLayoutError(
            f"{folder} is half-empty: {len(empty)} of {len(contents)} class folders hold no images: {listing(empty)}"
            f"{_other_contents(folder / empty[0])}. Expected files ending in {' '.join(SUFFIXES)} in each. "
            "Fill these folders or remove them."
        )
    return {name: images for name, (_, images) in contents.items()}


def _other_contents(folder: Path) -> str:
    inside = sorted({path.name + "/" if path.is_dir() else path.suffix or path.name for path in folder.iterdir()})
    return f" ({folder.name!r} holds {listing(inside)})" if inside else ""
