"""ImageNet-1k with its published shifts, from the folders their authors hand out: `imagenet`."""

import dataclasses
from pathlib import Path

import numpy as np

from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.dataset import FileDataset, ImageDataset
from vlm_data.errors import DataLayoutError
from vlm_data.file_benchmark import FileList, check_coverage, file_benchmark
from vlm_data.imagenet.classes import first_synonyms, official_names, wnids
from vlm_data.imagenet.localisation import FILE, CroppedBoxes, boxes_of_tests
from vlm_data.imagenet.shifts import present_shifts
from vlm_data.published import (
    check_folders,
    data_root,
    file_list,
    labelled_images,
    named_options,
    require_folder,
    same_names,
)

INFO = DatasetInfo(
    summary="ImageNet-1k with V2, R, A, Sketch, ObjectNet and the corruptions of ImageNet-C, as far as they are there",
    spec="imagenet",
    layout="""\
imagenet/train/WNID/*.JPEG           or ILSVRC2012/train, IN/ilsvrc/train; all 1000 classes, or two or more of them
imagenet/val_in_folder/WNID/*.JPEG   or val, or val_dirs: the official validation images, used as TEST set
imagenet/val_heldout/WNID/*.JPEG     optional validation split; else up to 26 images per class are drawn from train
imagenet/LOC_val_solution.csv        or beside imagenet, optional: boxes, evidence of the test images and ImageNet-C
ImageNetV2-matched-frequency/0..999/ or imagenetv2-matched-frequency-format-val
imagenet-r/WNID/*  imagenet-a/WNID/* 200 classes each: the model chooses among these
sketch/WNID/*
objectnet-1.0/images/FOLDER/*        113 of its 313 classes are used, the red frame of 2 pixels is cut off;
                                     --data imagenet:border keeps it, as the published programs did
ImageNet-C/CORRUPTION/1..5/WNID/*    15 corruptions, also inside noise, blur, weather and digital, or in IN/ImageNet-C
imagenet-classes.txt                 beside imagenet or ilsvrc, for --data imagenet:first-synonyms: 1000 lines of
                                     synonyms separated by commas, the first of which is the class name
All below --data-root. Shifts that are not there are left out and named.""",
    licence="ImageNet needs an account at image-net.org",
)
NAME = "imagenet"
PLACES = ("imagenet", "ILSVRC2012", "ilsvrc", "IN/ilsvrc")
WITH_BORDER, FIRST_SYNONYMS = "border", "first-synonyms"
SYNONYMS = "imagenet-classes.txt"
HELD_OUT = 26
"""Training images per class that become validation images, about 2 %: what model soups hold out (Wortsman et al. 2022).

Their list of indices is not part of this package: the seed draws another one of the same size."""


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the trees of folders and the table of boxes; no image is opened.

    Raises:
        CallError: for an unknown option.
        DataLayoutError: if ImageNet is not there, or anything is not laid out as `INFO.layout` says.
    """
    options = named_options(NAME, source, (WITH_BORDER, FIRST_SYNONYMS))
    place = data_root(NAME, "", root)
    home = require_folder(NAME, place, PLACES)
    present, files = _images(home)
    labels = {number: label for label, number in enumerate(present)}
    table, cropped = _beside(home, FILE), None
    if table.is_file():
        boxes = boxes_of_tests(table, {wnids()[number]: label for number, label in labels.items()}, files)
        tested = np.flatnonzero(files.splits == "test").tolist()
        cropped = CroppedBoxes(boxes, {files.ids[row]: files.paths[row] for row in tested})
        files = dataclasses.replace(files, evidence_source=boxes)
    synonyms = FIRST_SYNONYMS in options
    all_names = first_synonyms(_beside(home, SYNONYMS)) if synonyms else official_names()
    names = [all_names[number] for number in present]
    check_coverage(NAME, names, files)
    templates = asset_lines("templates/bare-v1.txt" if synonyms else "imagenet/templates.txt")
    benchmark = file_benchmark(NAME, names, templates, files, seed, HELD_OUT)
    shifts, notes = present_shifts(place, labels, WITH_BORDER not in options, cropped)
    few = (
        f"{len(present)} of the 1000 classes are in {home / 'train'}; scores compare with this choice of classes only."
    )
    told = (*((few,) if len(present) < len(wnids()) else ()), *notes, *same_names(names))
    whole = dataclasses.replace(benchmark, shifts=tuple(shifts), notes=told)
    return _renamed(whole, f"{NAME}-{FIRST_SYNONYMS}") if synonyms else whole


def _images(home: Path) -> tuple[list[int], FileList]:
    """Return the numbers of the classes that are there, ascending, and the images of all splits."""
    train = require_folder(NAME, home, ("train",))
    test = require_folder(NAME, home, ("val_in_folder", "val_dirs", "val"))
    numbers = {wnid: number for number, wnid in enumerate(wnids())}
    present = sorted(numbers[name] for name in check_folders(train, numbers, "WordNet ids"))
    if len(present) < 2:
        raise DataLayoutError(
            f"{train} has {len(present)} class folders. Expected 1000 called by WordNet id, or some of them, two or "
            "more. Unpack the training images into folders such as n01440764."
        )
    label_of = {wnids()[number]: label for label, number in enumerate(present)}
    images = labelled_images(train, label_of, "train", "train")
    check_folders(test, numbers, "WordNet ids")
    images += labelled_images(test, label_of, "test", "val")
    if (home / "val_heldout").is_dir():
        images += labelled_images(home / "val_heldout", label_of, "val", "val_heldout")
    files = file_list(images)
    if not (files.splits == "test").any():
        raise DataLayoutError(f"{test} has no images of the classes of {train}. Expected the same classes in both.")
    return present, files


def _beside(home: Path, name: str) -> Path:
    """Return where a file lies: in the folder of the images, else beside it."""
    return home / name if (home / name).is_file() else home.parent / name


def _renamed(benchmark: Benchmark, name: str) -> Benchmark:
    """Return the benchmark under a name of its own: other class names make other numbers."""

    def called(dataset: ImageDataset) -> ImageDataset:
        assert isinstance(dataset, FileDataset)
        return dataclasses.replace(dataset, name=dataset.name.replace(NAME, name, 1))

    shifts = [dataclasses.replace(shift, datasets=tuple(map(called, shift.datasets))) for shift in benchmark.shifts]
    splits = {split: called(getattr(benchmark, split)) for split in ("train", "val", "test")}
    return dataclasses.replace(benchmark, name=name, shifts=tuple(shifts), **splits)
