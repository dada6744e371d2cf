"""Stanford Dogs, breeds with boxes, as its authors hand it out: `stanforddogs`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vlm_data.annotations import read_matlab, read_positions
from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.box_annotations import annotated_boxes_mask
from vlm_data.class_folders import class_folders
from vlm_data.errors import DataLayoutError, listing
from vlm_data.evidence.annotation_files import AnnotationFiles, files_in_folders
from vlm_data.file_benchmark import FileList, check_coverage, file_benchmark
from vlm_data.published import data_root, named_options, require_folder, same_names

INFO = DatasetInfo(
    summary="photographs of 120 breeds of dogs; evidence is the boxes around them",
    spec="stanforddogs",
    layout="""\
stanford_dogs/Images/WNID-Name/*.jpg     with lists/train_list.mat and test_list.mat, also without the folder lists:
                                         the official split; a tenth of the training images of each breed becomes val
stanford_dogs/train_idxs.json            instead, with test_idxs.json: positions in the sorted list of all images
stanford_dogs/Annotation/WNID-Name/*     optional XML files without suffix: evidence is the union of all boxes
--data stanforddogs:published-names      breeds as in published numbers of rationales, cut at a hyphen:
                                         "shih" for "shih-tzu", "black" for "black-and-tan coonhound" and five more
Below --data-root; the folder may also be called Stanford_Dogs, StanfordDogs or stanforddogs.""",
)
NAME = "stanforddogs"
PUBLISHED_NAMES = "published-names"
BREEDS = 120
PLACES = ("stanford_dogs", "Stanford_Dogs", "StanfordDogs", "stanforddogs")


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read names, split and the lists of files; no image is opened.

    Images come in the order of sorted folders and files, as in published lists of labels and predictions.

    Raises:
        CallError: for an unknown option.
        DataLayoutError: if the data is not there, or not laid out as `INFO.layout` says.
    """
    options = named_options(NAME, source, (PUBLISHED_NAMES,))
    folder = require_folder(NAME, data_root(NAME, "", root), PLACES)
    trees = class_folders(require_folder(NAME, folder, ("Images", "images")))
    keys = sorted(trees)
    paths = {f"{key}/{path.name}": path for key in keys for path in trees[key]}
    split_of = _official_split(folder, paths)
    images = [image for image in paths if image in split_of]
    labels = {key: label for label, key in enumerate(keys)}
    files = FileList(
        tuple(images),
        tuple(paths[image] for image in images),
        np.array([labels[image.split("/")[0]] for image in images], dtype=np.int64),
        np.array([split_of[image] for image in images], dtype=object),
        evidence_source=_boxes(folder, images),
    )
    shown: Callable[[str], str] = cut_breed if options else breed
    name, names = "-".join((NAME, *options)), [shown(key) for key in keys]
    check_coverage(name, names, files)
    benchmark = file_benchmark(name, names, asset_lines("templates/bare-v1.txt"), files, seed)
    notes = _notes(folder, len(keys), len(paths) - len(images), len(paths))
    return dataclasses.replace(benchmark, notes=(*notes, *same_names(names)))


def breed(key: str) -> str:
    """Return the breed that a class folder is called by, in lower case with blanks.

    Example:
        >>> breed("n02086240-Shih-Tzu"), breed("n02107574-Greater_Swiss_Mountain_dog")
        ('shih-tzu', 'greater swiss mountain dog')
    """
    return key.split("-", 1)[-1].replace("_", " ").lower()


def cut_breed(key: str) -> str:
    """Return the breed up to its own first hyphen, as the published program cut it.

    Example:
        >>> cut_breed("n02086240-Shih-Tzu"), cut_breed("n02085620-Chihuahua")
        ('shih', 'chihuahua')
    """
    return breed(key).split("-")[0]


def _official_split(folder: Path, paths: Mapping[str, Path]) -> dict[str, str]:
    """Return the split of every image that has one."""
    members = {split: _members(folder, split, list(paths)) for split in ("train", "test")}
    absent = [image for images in members.values() for image in images if image not in paths]
    if absent:
        raise DataLayoutError(
            f"{len(absent)} images that the lists of {NAME} name are not in {folder / 'Images'}: "
            f"{listing(absent, most=3)}. Expected the whole archive. Unpack it again."
        )
    both = sorted({*members["train"]} & {*members["test"]})
    if both:
        raise DataLayoutError(
            f"the lists in {folder} put {len(both)} images into train and test, {listing(both, most=3)}. "
            "Expected every image in one of them. Copy the lists again."
        )
    return {image: split for split, images in members.items() for image in images}


def _members(folder: Path, split: str, images: Sequence[str]) -> list[str]:
    for path in (folder / "lists" / f"{split}_list.mat", folder / f"{split}_list.mat"):
        if path.is_file():
            return [str(name) for name in np.atleast_1d(read_matlab(path, "file_list")[0])]
    positions = folder / f"{split}_idxs.json"
    if not positions.is_file():
        raise DataLayoutError(
            f"{folder} has no list of its {split} images. Expected lists/{split}_list.mat, of the archive lists.tar of "
            f"the authors, or {split}_idxs.json. Unpack it there."
        )
    return [images[position] for position in read_positions(positions, len(images))]


def _boxes(folder: Path, images: Sequence[str]) -> AnnotationFiles | None:
    home = folder / "Annotation"
    if not home.is_dir():
        return None
    present = files_in_folders(home)
    places = {image: image.rpartition(".")[0] for image in images}
    found = {
        image: place for image, place in places.items() if Path(place).name in present.get(place.split("/")[0], ())
    }
    return AnnotationFiles({image: home / place for image, place in found.items()}, annotated_boxes_mask)


def _notes(folder: Path, breeds: int, unlisted: int, images: int) -> list[str]:
    few = [f"{breeds} of the {BREEDS} breeds are in {folder}."] if breeds != BREEDS else []
    left = [f"{unlisted} of {images} images of {folder} are in no list and left out."] if unlisted else []
    return [*few, *left]
