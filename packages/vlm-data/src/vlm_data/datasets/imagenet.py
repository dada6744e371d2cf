"""ImageNet-1k with its published shifts, from the folders their authors hand out: `imagenet`."""

import dataclasses
from pathlib import Path

from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.errors import DataLayoutError
from vlm_data.file_benchmark import check_coverage, file_benchmark
from vlm_data.imagenet.classes import official_names, wnids
from vlm_data.imagenet.shifts import present_shifts
from vlm_data.published import (
    check_folders,
    data_root,
    file_list,
    labelled_images,
    require_folder,
    same_names,
)

INFO = DatasetInfo(
    summary="ImageNet-1k with V2, R, A, Sketch, ObjectNet and the corruptions of ImageNet-C, as far as they are there",
    spec="imagenet",
    layout="""\
imagenet/train/WNID/*.JPEG           or ILSVRC2012/train; all 1000 classes, or some of them (two or more)
imagenet/val_in_folder/WNID/*.JPEG   or val, or val_dirs: the official validation images, used as TEST set
imagenet/val_heldout/WNID/*.JPEG     optional validation split; else up to 26 images per class are drawn from train
ImageNetV2-matched-frequency/0..999/ or imagenetv2-matched-frequency-format-val
imagenet-r/WNID/*  imagenet-a/WNID/* 200 classes each: the model chooses among these
sketch/WNID/*
objectnet-1.0/images/FOLDER/*        113 of its 313 classes are used, the red frame of 2 pixels is cut off;
                                     --data imagenet:border keeps it, as the published programs did
ImageNet-C/CORRUPTION/1..5/WNID/*    15 corruptions, also inside noise, blur, weather and digital
All below --data-root. Shifts that are not there are left out and named.""",
    licence="ImageNet needs an account at image-net.org",
)
NAME = "imagenet"
WITH_BORDER = "border"
HELD_OUT = 26
"""Training images per class that become validation images, about 2 %: what model soups hold out (Wortsman et al. 2022).

Their list of indices is not part of this package: the seed draws another one of the same size."""


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the trees of folders; no image is opened.

    Raises:
        DataLayoutError: if ImageNet is not there, or anything is not laid out as `INFO.layout` says.
    """
    place = data_root(NAME, "" if source == WITH_BORDER else source, root)
    home = require_folder(NAME, place, ("imagenet", "ILSVRC2012"))
    train = require_folder(NAME, home, ("train",))
    test = require_folder(NAME, home, ("val_in_folder", "val_dirs", "val"))
    numbers = {wnid: number for number, wnid in enumerate(wnids())}
    present = sorted(numbers[name] for name in check_folders(train, numbers, "WordNet ids"))
    if len(present) < 2:
        raise DataLayoutError(
            f"{train} has {len(present)} class folders. Expected 1000 called by WordNet id, or some of them, two or "
            "more. Unpack the training images into folders such as n01440764."
        )
    labels = {number: label for label, number in enumerate(present)}
    label_of = {wnids()[number]: label for number, label in labels.items()}
    images = labelled_images(train, label_of, "train", "train")
    check_folders(test, numbers, "WordNet ids")
    images += labelled_images(test, label_of, "test", "val")
    if (home / "val_heldout").is_dir():
        images += labelled_images(home / "val_heldout", label_of, "val", "val_heldout")
    files = file_list(images)
    if not (files.splits == "test").any():
        raise DataLayoutError(f"{test} has no images of the classes of {train}. Expected the same classes in both.")
    names = [official_names()[number] for number in present]
    check_coverage(NAME, names, files)
    benchmark = file_benchmark(NAME, names, asset_lines("imagenet/templates.txt"), files, seed, HELD_OUT)
    shifts, notes = present_shifts(place, labels, source != WITH_BORDER)
    reduced = [f"{len(present)} of the 1000 classes are in {train}; scores compare with this choice of classes only."]
    told = (*(reduced if len(present) < len(numbers) else ()), *notes, *same_names(names))
    return dataclasses.replace(benchmark, shifts=tuple(shifts), notes=told)
