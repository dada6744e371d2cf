"""Miniature copies of data sets that come with evidence: outlines, soft segmentations, boxes."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from specimens.images import write_image

CALTECH101_CLASSES = {"Faces_easy": "Faces_3", "car_side": "car_side", "yin_yang": "yin_yang"}
"""Folder of the images and folder of the outlines."""
CUB_CLASSES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "014.Indigo_Bunting")
DOG_CLASSES = ("n02085620-Chihuahua", "n02086240-Shih-Tzu", "n02107574-Greater_Swiss_Mountain_dog")
OUTLINE = np.array([[0.4, 9.0, 9.2, 0.0], [0.0, 0.3, 7.9, 7.0]])
"""Corners x and y of a rectangle of 10 x 8 pixels, relative to its box, with fractions."""
BOX = (3, 13, 5, 15)
"""Top, bottom, left, right."""


def write_caltech101(root: Path) -> None:
    """Write three of the 101 classes with ten outlined images each, one of them grey, and the background."""
    folder = root / "caltech-101"
    for key in ("BACKGROUND_Google", *CALTECH101_CLASSES):
        for number in range(1, 11):
            mode = "L" if (key, number) == ("car_side", 1) else "RGB"
            write_image(folder / "101_ObjectCategories" / key / f"image_{number:04d}.jpg", mode=mode)
    for key in CALTECH101_CLASSES.values():
        for number in range(1, 11):
            write_outline(folder / "Annotations" / key / f"annotation_{number:04d}.mat")


def write_outline(path: Path) -> None:
    """Write one outline as the authors of Caltech101 do, the box in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"box_coord": np.array([BOX], dtype=np.uint8), "obj_contour": OUTLINE})


def write_caltech101_lists(folder: Path, names: list[str], annotated: list[int]) -> None:
    """Write the two lists of the published comparison of rationales."""
    (folder / "label_dict.json").write_text(json.dumps({str(label): name for label, name in enumerate(names)}))
    (folder / "yes_seg.json").write_text(json.dumps(annotated))


def write_cub(root: Path) -> None:
    """Write three classes of six images, four of them to train, listed backwards, with levels of five people."""
    folder = root / "CUB_200_2011"
    images = [f"{key}/{key[4:]}_{10 + number:04d}_{number}.jpg" for key in CUB_CLASSES for number in reversed(range(6))]
    for image in images:
        write_image(folder / "images" / image)
        write_segmentation((folder / "segmentations" / image).with_suffix(".png"))
    lines = {
        "classes": [f"{number} {key}" for number, key in enumerate(CUB_CLASSES, start=1)],
        "images": [f"{number} {image}" for number, image in enumerate(images, start=1)],
        "train_test_split": [f"{number} {int(number % 6 not in (1, 3))}" for number in range(1, len(images) + 1)],
    }
    for name, content in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(content) + "\n")


def write_segmentation(path: Path, size: tuple[int, int] = (20, 16)) -> None:
    """Write a bird that all saw in columns 8 to 11, four of five around it, and two of five in a wider ring."""
    levels = np.zeros((size[1], size[0]), dtype=np.uint8)
    for cut, level in ((2, 102), (4, 204), (8, 255)):
        levels[cut // 2 : size[1] - cut // 2, cut : size[0] - cut] = level
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)


def write_stanforddogs(root: Path) -> None:
    """Write three breeds of six images, four of them to train; one image is grey and one has four channels."""
    folder, lists = root / "stanford_dogs", {"train": list[str](), "test": list[str]()}
    for key in DOG_CLASSES:
        wnid = key.split("-")[0]
        for number in (9, 10, 111, 12, 13, 5):
            image = f"{key}/{wnid}_{number}.jpg"
            mode = {"n02085620_9": "L", "n02085620_10": "RGBA"}.get(f"{wnid}_{number}", "RGB")
            write_image(folder / "Images" / image, mode=mode)
            boxes = [(2, 1, 6, 5), (10, 8, 25, 12)] if number == 9 else [(2, 1, 6, 5)]
            write_boxes(folder / "Annotation" / key / f"{wnid}_{number}", boxes)
            lists["test" if number in (111, 9) else "train"].append(image)
    (folder / "lists").mkdir(exist_ok=True)
    for split, images in lists.items():
        savemat(
            folder / "lists" / f"{split}_list.mat", {"file_list": np.array([[one] for one in images], dtype=object)}
        )


def write_boxes(path: Path, boxes: list[tuple[int, int, int, int]], size: tuple[int, int] = (20, 16)) -> None:
    """Write boxes as Stanford Dogs has them, one object each."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        "<object>\n<name>dog</name><pose>Unspecified</pose>\n<bndbox>"
        + "".join(f"<{name}>{value}</{name}>" for name, value in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    ]
    told = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["<annotation>", told, *objects, "</annotation>"]))


def write_localisation(path: Path, boxes: dict[str, str]) -> None:
    """Write the table of boxes of ImageNet's validation images: for each image name `WNID x1 y1 x2 y2 ...`."""
    path.write_text(
        "\n".join(["ImageId,PredictionString", *(f"{name},{text} " for name, text in boxes.items())]) + "\n"
    )
