"""Image processors of transformers, as the size and normalisation they amount to."""

import math
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor

from vlm_data.preprocess import Preprocess
from vlm_models.errors import CheckpointError, reason
from vlm_models.hub import quiet_transformers

IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")
INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Resampling filters of Pillow, by number, that `Preprocess` knows."""


def read_preprocess(folder: Path, image_size: int, spec: str, *, chosen: bool = False) -> Preprocess:
    """Read the preprocessing of a folder.

    Args:
        folder: in Hugging Face layout.
        image_size: side of the images that the image tower takes.
        spec: of the model, for messages.
        chosen: whether the user asked for that size; what the file says about size is then of no interest.

    Raises:
        CheckpointError: if the file is missing, damaged, or says what the house's preprocessing cannot do: a wrong
            preprocessing would lower every score without a word.
    """
    if not any((folder / name).is_file() for name in IMAGE_FILES):
        raise CheckpointError(
            f"{spec} has no {IMAGE_FILES[0]}, so size and normalisation of its images are unknown. Expected the file "
            "beside the weights; download it from where the weights are from."
        )
    try:
        with quiet_transformers():
            processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # damaged JSON, unknown classes and missing packages raise nearly anything
        raise CheckpointError(
            f"cannot read {IMAGE_FILES[0]} of {spec}: {reason(error)}. "
            "Expected the file that was published with the weights; download it again."
        ) from error
    takes_any = hasattr(processor, "max_num_patches")
    resize, side = ("squash", None) if takes_any else _resize(processor, image_size, spec, chosen)
    mean, std = _normalisation(processor, spec)
    return Preprocess(image_size, mean, std, _interpolation(processor, spec), resize, side)


def _resize(processor: Any, image_size: int, spec: str, chosen: bool) -> tuple[str, int | None]:
    """Return the resize rule and side; refuse one that ends in anything but a square of the size of the tower."""
    size, crop = _sides(processor.size), _sides(processor.crop_size) if processor.do_center_crop else None
    shortest = getattr(processor.size, "shortest_edge", None)
    is_square = len(set(size)) == 1 if size else False
    if processor.do_resize and shortest and shortest > image_size and crop == (image_size, image_size):
        return "shortest", shortest
    fits = crop == (shortest, shortest) if shortest else is_square and crop in (None, size)
    side = shortest or (size[0] if size else None)
    fits = fits and processor.do_resize
    if not fits or (side != image_size and not chosen):
        told = f"resizes to {_words(processor.size) if processor.do_resize else 'nothing'}"
        told += f" and cuts {_words(processor.crop_size)} out of the centre" if processor.do_center_crop else ""
        raise CheckpointError(
            f"{IMAGE_FILES[0]} of {spec} {told}; its image tower takes squares of {image_size} pixels. Expected the "
            f"shortest edge at {image_size} or more and a crop of that size, or height and width of {image_size}. "
            f"Correct the file{f', or choose a size with ,image_size={side}' if fits else ''}."
        )
    return ("shortest" if shortest else "squash"), None


def _sides(size: Any) -> tuple[int, int] | None:
    height, width = getattr(size, "height", None), getattr(size, "width", None)
    return (height, width) if height and width else None


def _words(size: Any) -> str:
    given = {name: getattr(size, name, None) for name in ("height", "width", "shortest_edge", "longest_edge")}
    return ", ".join(f"{name} {value}" for name, value in given.items() if value) or "an unknown size"


def _normalisation(processor: Any, spec: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not processor.do_rescale or not math.isclose(processor.rescale_factor, 1 / 255, rel_tol=1e-6):
        factor = processor.rescale_factor if processor.do_rescale else 1
        raise CheckpointError(
            f"{IMAGE_FILES[0]} of {spec} multiplies pixels by {factor:g}; expected 1/255, with mean and standard "
            "deviation in these units. Correct the file, or take another model."
        )
    if not processor.do_normalize:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = tuple(map(float, processor.image_mean)), tuple(map(float, processor.image_std))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise CheckpointError(
            f"{IMAGE_FILES[0]} of {spec} has mean {mean} and standard deviation {std}. Expected three numbers each, "
            "the latter positive; correct the file."
        )
    return mean, std


def _interpolation(processor: Any, spec: str) -> str:
    number = None if processor.resample is None else int(processor.resample)
    if number not in INTERPOLATIONS:
        raise CheckpointError(
            f"{IMAGE_FILES[0]} of {spec} resizes with the filter {processor.resample!r} of Pillow. Expected one of "
            f"{', '.join(f'{key} ({name})' for key, name in INTERPOLATIONS.items())}; write the nearest to it there."
        )
    return INTERPOLATIONS[number]
