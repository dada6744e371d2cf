"""CUB-200-2011, birds with soft segmentations, as its authors hand it out: `cub`."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool
from PIL import Image

from vlm_data.annotations import read_numbered_lines
from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.errors import DataLayoutError, listing
from vlm_data.evidence.annotation_files import AnnotationFiles, files_in_folders
from vlm_data.file_benchmark import FileList, check_coverage, file_benchmark
from vlm_data.published import data_root, first_folder, named_options, require_files, require_folder, same_names

INFO = DatasetInfo(
    summary="photographs of 200 kinds of birds; evidence is where most of five people saw the bird",
    spec="cub",
    layout="""\
CUB_200_2011/images/NNN.Class_name/*.jpg        with classes.txt, images.txt, train_test_split.txt: the official split
CUB_200_2011/segmentations/NNN.Class_name/*.png or beside CUB_200_2011, optional: evidence, where most of five people
                                                saw the bird (grey level 128 of 255 or more)
--data cub:sorted                               the split of published numbers of rationales: line k of
                                                train_test_split.txt for the k-th file in sorted order, which is not
                                                the official one
--data cub:unanimous                            evidence where all five agree (level 255); cub:sorted,unanimous is both
Below --data-root, or in a folder CUB there. A tenth of the training images of each class becomes val.""",
)
NAME = "cub"
SORTED, UNANIMOUS = "sorted", "unanimous"
CLASSES = 200
MOST, ALL = 128, 255
"""Grey levels from which on a pixel is evidence: each of five people adds 51."""


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read names, split and the lists of files; no image is opened.

    Images come in the order of sorted folders and files, as in published lists of labels and predictions.

    Raises:
        CallError: for an unknown option.
        DataLayoutError: if the data is not there, or not laid out as `INFO.layout` says.
    """
    options = named_options(NAME, source, (SORTED, UNANIMOUS))
    folder = require_folder(NAME, data_root(NAME, "", root), ("CUB_200_2011", "CUB/CUB_200_2011", "cub/CUB_200_2011"))
    names = {key: class_name(key) for key in read_numbered_lines(folder / "classes.txt").values()}
    for_training = _split(folder, SORTED in options)
    images = sorted(for_training, key=lambda image: PurePosixPath(image).parts)
    _check_images(folder, images, names)
    labels = {key: label for label, key in enumerate(names)}
    files = FileList(
        tuple(images),
        tuple(folder / "images" / image for image in images),
        np.array([labels[image.split("/")[0]] for image in images], dtype=np.int64),
        np.array(["train" if for_training[image] else "test" for image in images], dtype=object),
        evidence_source=_segmentations(folder, images, ALL if UNANIMOUS in options else MOST),
    )
    name, shown = "-".join((NAME, *options)), list(names.values())
    check_coverage(name, shown, files)
    benchmark = file_benchmark(name, shown, asset_lines("templates/bare-v1.txt"), files, seed)
    few = (f"{len(names)} of the {CLASSES} classes are in {folder}.",) if len(names) != CLASSES else ()
    return dataclasses.replace(benchmark, notes=(*few, *same_names(shown)))


def class_name(key: str) -> str:
    """Return how prompts call the class of a folder: what follows the number, in lower case with blanks.

    Example:
        >>> class_name("012.Yellow_headed_Blackbird")
        'yellow headed blackbird'
    """
    return key.split(".", 1)[-1].replace("_", " ").lower()


def _split(folder: Path, by_position: bool) -> dict[str, bool]:
    """Return for every listed image whether it is for training.

    Numbers of `train_test_split.txt` are those of `images.txt`, which is not sorted within a class. The published
    program took line k for the k-th file of the sorted folders instead: as many images of each class, but others.
    """
    images = read_numbered_lines(folder / "images.txt")
    flags = read_numbered_lines(folder / "train_test_split.txt")
    differing = sorted(images.keys() ^ flags.keys())
    strange = sorted({*flags.values()} - {"0", "1"})
    if differing or strange or len(set(images.values())) < len(images):
        what = (
            f"flags {listing(strange)}" if strange else f"images {listing(differing)}" if differing else "a file twice"
        )
        raise DataLayoutError(
            f"images.txt and train_test_split.txt in {folder} do not fit together: {what}. "
            "Expected a flag 0 or 1 for every image. Unpack the archive again."
        )
    if by_position:
        ordered = sorted(images.values(), key=lambda image: PurePosixPath(image).parts)
        return {image: flag == "1" for image, flag in zip(ordered, flags.values(), strict=True)}
    return {image: flags[number] == "1" for number, image in images.items()}


def _check_images(folder: Path, images: Sequence[str], names: dict[str, str]) -> None:
    members: dict[str, list[str]] = {}
    for image in images:
        key, _, file = image.partition("/")
        members.setdefault(key, []).append(file)
    strange = sorted(members.keys() - names.keys())
    if strange:
        raise DataLayoutError(
            f"images.txt in {folder} has folders that classes.txt has not: {listing(strange)}. "
            f"Expected {listing(list(names), most=3)}. Unpack the archive again."
        )
    for key, files in members.items():
        require_files(NAME, folder / "images" / key, files)


def _segmentations(folder: Path, images: Sequence[str], level: int) -> AnnotationFiles | None:
    home = first_folder(folder, ("segmentations",)) or first_folder(folder.parent, ("segmentations",))
    if home is None:
        return None
    present = files_in_folders(home)
    masks = {image: PurePosixPath(image).with_suffix(".png") for image in images}
    files = {image: home / mask for image, mask in masks.items() if mask.name in present.get(mask.parent.name, ())}
    return AnnotationFiles(files, partial(_levels, level=level), f"level {level}")


def _levels(path: Path, size: tuple[int, int], level: int) -> Bool[np.ndarray, "h w"]:
    """Return where a segmentation has a level; some have three grey channels, or one of transparency besides."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L")) >= level
    except (OSError, SyntaxError, ValueError) as error:
        raise DataLayoutError(
            f"cannot decode {path}: {error}. Expected a grey picture. Unpack the segmentations again."
        ) from error
