"""Miniature copies of published data sets, written as their authors lay them out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from specimens.evidence import write_caltech101, write_cub, write_localisation, write_stanforddogs
from specimens.images import write_image

IMAGENET_CLASSES = {6: "n01498041", 11: "n01531178", 409: "n02708093", 414: "n02769748", 530: "n03196217"}
"""Class numbers and WordNet ids: 6, 11, 414 are in R, 6, 11, 530 in A; 409 and 530 are one ObjectNet class."""
CORRUPTIONS = ("noise/gaussian_noise", "snow")


def write_classes(
    folder: Path, names: list[str], per_class: int, suffix: str = "JPEG", size: tuple[int, int] = (20, 16)
) -> None:
    """Write class folders of images."""
    for name in names:
        for number in range(per_class):
            write_image(folder / name / f"{name.replace('/', '-')}_{number}.{suffix}", size)


def write_imagenet(root: Path) -> None:
    """Write five classes of ImageNet and what its shifts have of them, with classes that ImageNet here has not."""
    wnids = list(IMAGENET_CLASSES.values())
    write_classes(root / "imagenet" / "train", wnids, 12)
    write_classes(root / "imagenet" / "val", wnids, 4)
    boxes = {f"{wnid}_{number}": f"{wnid} 5 4 {9 + number} 11" for wnid in wnids for number in range(4)}
    write_localisation(root / "imagenet" / "LOC_val_solution.csv", boxes)
    write_classes(root / "ImageNetV2-matched-frequency", [*map(str, IMAGENET_CLASSES), "7"], 2)
    write_classes(root / "imagenet-r", [wnids[0], wnids[1], wnids[3], "n01443537"], 3)
    write_classes(root / "imagenet-a", [wnids[0], wnids[1], wnids[4]], 3)
    write_classes(root / "sketch", wnids, 2)
    for folder in ("alarm_clock", "backpack", "air_freshener"):
        for number in range(3):
            write_image(root / "objectnet-1.0" / "images" / folder / f"{number}.png")
    for corruption in CORRUPTIONS:
        for severity in range(1, 6):
            write_classes(root / "ImageNet-C" / corruption / str(severity), wnids, 1, size=(16, 16))


def write_fmow(root: Path) -> None:
    """Write 24 satellite images of four classes, with images of every official split and one sequestered image."""
    folder, rows = root / "fmow_v1.1", []
    kinds = [("train", 2003), ("val", 2005), ("test", 2012), ("test", 2016), ("val", 2014), ("test", 2017)]
    for number in range(24):
        split, year = kinds[number % 6] if number else ("seq", 2002)
        category = ("airport", "amusement_park", "zoo", "dam")[number // 6]
        country = ("FRA", "KEN", "XXX")[(number + number // 6) % 3]
        rows.append(f"{split},{category},{year}-05-01T10:00:00Z,{country}")
        write_image(folder / "images" / f"rgb_img_{number}.png")
    (folder / "rgb_metadata.csv").write_text("\n".join(["split,category,timestamp,country_code", *rows]) + "\n")
    (folder / "country_code_mapping.csv").write_text("name,alpha-3,region\nFrance,FRA,Europe\nKenya,KEN,Africa\n")


def write_iwildcam(root: Path) -> None:
    """Write 40 images of four classes, eight of each official split."""
    folder, rows = root / "iwildcam_v2.0", []
    for number in range(40):
        split = ("train", "id_val", "id_test", "val", "test")[number % 5]
        rows.append(f"{number},{split},{(0, 6, 7, 181)[number // 5 % 4]},{number}.jpg")
        write_image(folder / "train" / f"{number}.jpg")
    (folder / "metadata.csv").write_text("\n".join([",split,y,filename", *rows]) + "\n")


def write_flowers102(root: Path) -> None:
    """Write two images of each of 102 classes that are numbered from 1, and a third one of some for testing."""
    folder, labels = root / "flowers102", np.arange(240) % 102 + 1
    for number in range(1, len(labels) + 1):
        write_image(folder / "jpg" / f"image_{number:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": labels[None]})
    parts = {"trnid": np.arange(1, 103), "valid": np.arange(103, 205), "tstid": np.arange(205, 241)}
    savemat(folder / "setid.mat", {name: rows[None] for name, rows in parts.items()})


def write_stanfordcars(root: Path) -> None:
    """Write three classes with 30 images to train and 6 to test, annotated as in the devkit."""
    folder = root / "stanford_cars"
    names = np.array([["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo"]], dtype=object)
    (folder / "devkit").mkdir(parents=True, exist_ok=True)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    where = {"train": ("devkit/cars_train_annos.mat", 30), "test": ("cars_test_annos_withlabels.mat", 6)}
    for split, (path, count) in where.items():
        rows = np.array(
            [(1, 2, 3, 4, number % 3 + 1, f"{number + 1:05d}.jpg") for number in range(count)],
            dtype=[(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")],
        )
        savemat(folder / path, {"annotations": rows[None]})
        for number in range(count):
            write_image(folder / f"cars_{split}" / f"{number + 1:05d}.jpg")


def write_patchcamelyon(root: Path) -> None:
    """Write six patches of each class in every split."""
    for split in ("train", "val", "test"):
        write_classes(root / "patchcamelyon" / split, ["0", "1"], 6, "png")


def write_sst2(root: Path) -> None:
    """Write six sentences of each class in every split, as torchvision unpacks them."""
    for split in ("train", "valid", "test"):
        write_classes(root / "rendered-sst2" / split, ["negative", "positive"], 6, "png")


PUBLISHED: dict[str, Callable[[Path], None]] = {
    "caltech101": write_caltech101,
    "cub": write_cub,
    "flowers102": write_flowers102,
    "fmow": write_fmow,
    "imagenet": write_imagenet,
    "iwildcam": write_iwildcam,
    "patchcamelyon": write_patchcamelyon,
    "sst2": write_sst2,
    "stanforddogs": write_stanforddogs,
    "stanfordcars": write_stanfordcars,
}
"""For every published data set the function that writes its miniature below a folder, the later `--data-root`."""
