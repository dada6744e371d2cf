"""What other programs call the data sets that have names here, and where a name tells no more than itself."""

from collections.abc import Mapping
from typing import Literal

Place = tuple[str, str]
"""Data set and split, as rows call them."""

_SHIFTS_OF_IMAGENET: Mapping[str, tuple[str, str]] = {
    "imagenet": ("ImageNet", "imagenet1k"),
    "imagenet/v2": ("ImageNetV2", "imagenetv2"),
    "imagenet/r": ("ImageNetR", "imagenet-r"),
    "imagenet/a": ("ImageNetA", "imagenet-a"),
    "imagenet/sketch": ("ImageNetSketch", "imagenet_sketch"),
    "imagenet/objectnet": ("ObjectNet", "objectnet"),
}
WISE_FT: Mapping[Place, str] = {
    **{(data, "test"): names[0] for data, names in _SHIFTS_OF_IMAGENET.items()},
    ("fmow", "val"): "FMOWIDVal",
    ("fmow", "test"): "FMOWID",
    ("fmow/ood", "test"): "FMOWOOD",
    ("iwildcam", "val"): "IWildCamIDVal",
    ("iwildcam", "test"): "IWildCamID",
    ("iwildcam/ood", "test"): "IWildCamOOD",
    **{
        (name.lower(), split): f"{name}{split.capitalize()}"
        for name in ("Caltech101", "StanfordCars", "Flowers102", "PatchCamelyon")
        for split in ("val", "test")
    },
    ("sst2", "val"): "sst2Val",
    ("sst2", "test"): "sst2Test",
}
"""Names in WiSE-FT, FLYP and CaRot."""
CLIP_BENCHMARK: Mapping[Place, str] = {
    **{(data, "test"): names[1] for data, names in _SHIFTS_OF_IMAGENET.items()},
    ("caltech101", "test"): "caltech101",
    ("stanfordcars", "test"): "cars",
    ("flowers102", "test"): "flowers",
    ("patchcamelyon", "test"): "pcam",
    ("sst2", "test"): "renderedsst2",
}
"""Names in CLIP_benchmark."""


def theirs(place: Place, names: Mapping[Place, str]) -> str:
    """Return the other program's name of a data set; a data set that it does not know keeps its name.

    Example:
        >>> theirs(("imagenet/v2", "test"), WISE_FT), theirs(("digits/invert", "test"), WISE_FT)
        ('ImageNetV2', 'digits/invert')
    """
    return names.get(place, place[0])


def ours(name: str, names: Mapping[Place, str]) -> Place:
    """Return data set and split of the other program's name; a name that is not known stays, and is a test set.

    Example:
        >>> ours("FMOWIDVal", WISE_FT), ours("ImageNetVidRobust", WISE_FT)
        (('fmow', 'val'), ('ImageNetVidRobust', 'test'))
    """
    return next((place for place, called in names.items() if called == name), (name, "test"))


def role_of(data: str, reference: str | None = None) -> Literal["id", "shift"]:
    """Return the role of a data set: the reference is ID, `benchmark/shift` and everything beside a reference a shift.

    Args:
        data: name as rows call it.
        reference: what is ID in the same file; None if it does not tell.

    Example:
        >>> role_of("imagenet/v2"), role_of("cars"), role_of("ObjectNet", reference="imagenet")
        ('shift', 'id', 'shift')
    """
    if reference is None:
        return "shift" if "/" in data else "id"
    return "id" if data == reference else "shift"


def group_of(data: str, role: str) -> str:
    """Return the group of a data set: empty for ID, `natural` for published shifts, else `unknown`.

    Files of other programs do not tell corruptions apart, and a mean over both kinds is not one of natural shifts.

    Args:
        data: name as rows call it.
        role: `id` or `shift`.

    Example:
        >>> group_of("imagenet", "id"), group_of("imagenet/v2", "shift"), group_of("digits/blur", "shift")
        ('', 'natural', 'unknown')
    """
    if role != "shift":
        return ""
    known = {name for name, _ in (*WISE_FT, *CLIP_BENCHMARK)}
    return "natural" if data in known else "unknown"
