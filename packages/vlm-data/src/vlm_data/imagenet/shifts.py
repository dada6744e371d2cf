"""The test sets under another distribution that are published for ImageNet: those that are there are read.

`labels` is everywhere the label of each ImageNet class number that the benchmark has: all 1000 of them, or those of a
reduced copy. Images of other classes are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vlm_data.benchmark import ClassSources, Shift
from vlm_data.dataset import FileDataset
from vlm_data.errors import DataLayoutError
from vlm_data.imagenet.classes import objectnet_classes, subset_ids, wnids
from vlm_data.imagenet.localisation import CroppedBoxes
from vlm_data.published import Labelled, check_folders, first_folder, labelled_images

Labels = Mapping[int, int]
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The 15 corruptions of the benchmark (Hendrycks and Dietterich 2019); its four extra ones are for development."""
FAMILIES = ("", "noise/", "blur/", "weather/", "digital/")
"""Folders that the five archives of ImageNet-C may have been unpacked into."""
SEVERITIES = range(1, 6)
OBJECTNET_BORDER = 2
"""Width in pixels of the red frame around the images of ObjectNet."""
NATURAL_FOLDERS = {
    "v2": ("ImageNetV2-matched-frequency", "imagenetv2-matched-frequency-format-val", "imagenet-v2"),
    "r": ("imagenet-r",),
    "a": ("imagenet-a",),
    "sketch": ("sketch", "imagenet-sketch"),
    "objectnet": ("objectnet-1.0/images",),
}
CORRUPTION_FOLDERS = ("ImageNet-C", "imagenet-c", "IN/ImageNet-C")


def present_shifts(
    root: Path, labels: Labels, cut_border: bool = True, boxes: CroppedBoxes | None = None
) -> tuple[list[Shift], list[str]]:
    """Return the shifts below a folder, natural ones first, and notes about those that are not there.

    Args:
        root: where the folders of all shifts lie.
        labels: label of each ImageNet class number the benchmark has.
        cut_border: whether the red frame of ObjectNet is cut off, see `objectnet`.
        boxes: evidence of the corrupted images, or None.

    Raises:
        DataLayoutError: if one is there, but not as its authors hand it out.
    """
    shifts: list[Shift] = []
    missing: list[str] = []
    for name, folders in NATURAL_FOLDERS.items():
        folder = first_folder(root, folders)
        read = objectnet_with_border if name == "objectnet" and not cut_border else _NATURAL[name]
        shift = read(folder, labels) if folder else None
        if shift:
            shifts.append(shift)
        else:
            missing.append(f"{name} ({folders[0]})")
    folder = first_folder(root, CORRUPTION_FOLDERS)
    corruptions = corrupted(folder, labels, boxes) if folder else []
    lacking = sorted(set(CORRUPTIONS) - {shift.name for shift in corruptions})
    if lacking:
        few = f": {', '.join(lacking)}" if corruptions else ""
        missing.append(f"{len(lacking)} corruptions ({CORRUPTION_FOLDERS[0]}{few})")
    notes = [f"shifts that {root} has not, or of other classes only: {', '.join(missing)}."] if missing else []
    if boxes:
        notes += _without_clean(corruptions, boxes)
    return [*shifts, *corruptions], notes


def matched_frequency(folder: Path, labels: Labels) -> Shift | None:
    """Read ImageNetV2: the folders are called 0 to 999, and the number is the class, whatever the sorted position."""
    numbers = {str(number): number for number in range(len(wnids()))}
    check_folders(folder, numbers, "the class numbers 0 to 999")
    return _shift("v2", folder, {name: labels[number] for name, number in numbers.items() if number in labels})


def same_classes(folder: Path, labels: Labels) -> Shift | None:
    """Read ImageNet-Sketch: one folder per WordNet id, all classes."""
    check_folders(folder, _numbers(), "WordNet ids")
    return _shift("sketch", folder, {wnids()[number]: label for number, label in labels.items()})


def some_classes(name: str, folder: Path, labels: Labels) -> Shift | None:
    """Read ImageNet-R or ImageNet-A: 200 classes, among which alone the model chooses."""
    ids = subset_ids(name)
    check_folders(folder, {wnids()[number]: number for number in ids}, f"WordNet ids of the 200 classes of {name}")
    kept = [number for number in ids if number in labels]
    sources = tuple((labels[number],) for number in kept)
    return _shift(name, folder, {wnids()[number]: label for label, number in enumerate(kept)}, sources)


def objectnet(folder: Path, labels: Labels) -> Shift | None:
    """Read ObjectNet: the 113 of its 313 classes that are made of ImageNet classes, without the red frame."""
    return _objectnet("objectnet", folder, labels, OBJECTNET_BORDER)


def objectnet_with_border(folder: Path, labels: Labels) -> Shift | None:
    """Read ObjectNet with the red frame, under a name of its own: `objectnet-border`.

    The published WiSE-FT and CaRot programs meant to cut the frame off, as its authors ask, but attach the crop when
    the data set has its transform already: their numbers include the frame.
    """
    return _objectnet("objectnet-border", folder, labels, 0)


def _objectnet(shift: str, folder: Path, labels: Labels, border: int) -> Shift | None:
    kept = [
        (found.folder, [labels[number] for number in found.ids if number in labels]) for found in objectnet_classes()
    ]
    kept = [(name, sources) for name, sources in kept if sources]
    label_of = {name: label for label, (name, _) in enumerate(kept)}
    return _shift(shift, folder, label_of, tuple(tuple(sources) for _, sources in kept), border)


def corrupted(folder: Path, labels: Labels, boxes: CroppedBoxes | None = None) -> list[Shift]:
    """Read ImageNet-C: `CORRUPTION/SEVERITY/WNID/*`, five severities each; ids are those of the clean images.

    Raises:
        DataLayoutError: if a corruption has not all five severities: means over fewer do not compare.
    """
    label_of = {wnids()[number]: label for number, label in labels.items()}
    shifts = []
    for name in CORRUPTIONS:
        home = first_folder(folder, [family + name for family in FAMILIES])
        if home is None:
            continue
        absent = [str(level) for level in SEVERITIES if not (home / str(level)).is_dir()]
        if absent:
            raise DataLayoutError(
                f"{home} lacks severity {', '.join(absent)}. Expected folders 1 to 5: the score of a corruption is the "
                "mean over all five. Add them, or remove the corruption."
            )
        levels = []
        for level in SEVERITIES:
            check_folders(home / str(level), _numbers(), "WordNet ids")
            images = labelled_images(home / str(level), label_of, "test", "val")
            levels.append(_dataset(f"{name}-{level}", images, evidence=boxes))
        if all(len(level) for level in levels):
            shifts.append(Shift(name, "corruption", tuple(levels)))
    return shifts


def _without_clean(corruptions: Sequence[Shift], boxes: CroppedBoxes) -> list[str]:
    """Return a note about corrupted images whose clean image is not there, whose evidence cannot be placed."""
    shown = {image for shift in corruptions for level in shift.datasets for image in level.ids}
    lost = len(shown - boxes.paths.keys())
    return [f"{lost} images of ImageNet-C have no clean image of that name, so no evidence."] if lost else []


def _numbers() -> dict[str, int]:
    return {wnid: number for number, wnid in enumerate(wnids())}


def _shift(
    name: str, folder: Path, label_of: Mapping[str, int], sources: ClassSources = (), border: int = 0
) -> Shift | None:
    """Return one natural shift, or None where a reduced copy leaves fewer than two classes of it to choose from."""
    images = labelled_images(folder, label_of, "test", name)
    if not images or len(label_of) < 2:
        return None
    return Shift(name, "natural", (_dataset(name, images, border),), sources)


def _dataset(
    name: str, images: Sequence[Labelled], border: int = 0, evidence: CroppedBoxes | None = None
) -> FileDataset:
    return FileDataset(
        f"imagenet/{name}",
        "test",
        tuple(image for image, _, _, _ in images),
        np.array([label for _, _, label, _ in images], dtype=np.int64),
        tuple(path for _, path, _, _ in images),
        border=border,
        evidence_source=evidence,
    )


_NATURAL: dict[str, Callable[[Path, Labels], Shift | None]] = {
    "v2": matched_frequency,
    "r": lambda folder, labels: some_classes("r", folder, labels),
    "a": lambda folder, labels: some_classes("a", folder, labels),
    "sketch": same_classes,
    "objectnet": objectnet,
}
