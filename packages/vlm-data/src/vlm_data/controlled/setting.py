"""A controlled setting on disk: which class the feature is tied to, how strongly, and which images it has."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64

from vlm_data.errors import CallError, DataLayoutError, VlmDataError
from vlm_data.file_benchmark import source_path
from vlm_data.tables.parquet import read_table

FORMAT = "vlm controlled setting 1"
SETTING_FILE, SAMPLES_FILE, REGIONS_FILE = "setting.json", "samples.parquet", "regions.parquet"
SAMPLES_VERSION = "1"
SHARED_IMAGES = "../images"
"""Where settings of one grid have their images."""
READER = "spurious"
"""Word before the colon in `--data`."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is known about one setting besides its images.

    Attributes:
        name: the setting, as results call it.
        source: what the images are made of, for example `digits`.
        feature: what is planted, for example `red rectangle`.
        spurious_class: name of the class that the feature is tied to in the training images.
        class_names: one per label.
        templates: prompts with `{c}`.
        v: wanted Cramer's V of the table classes x {feature absent, present} of the training images.
        achieved: the one they have.
        seed: of the draw of the training images.
        images: folder that `Samples.files` are relative to; itself relative to the setting's, or absolute.
        canvas: side of the images in pixels where all are squares of one size, else None.
        folder: where the setting lies; not written.
    """

    name: str
    source: str
    feature: str
    spurious_class: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    v: float
    achieved: float
    seed: int
    images: str = SHARED_IMAGES
    canvas: int | None = None
    folder: Path = Path()

    @property
    def spurious_label(self) -> int:
        """Index of the class that the feature is tied to."""
        return self.class_names.index(self.spurious_class)

    @property
    def regions(self) -> Path:
        """The file with the regions of all images and what they show."""
        return self.folder / REGIONS_FILE

    @property
    def samples(self) -> Path:
        """The file with the list of images."""
        return self.folder / SAMPLES_FILE


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """The images of a setting, one entry each.

    Attributes:
        ids: n unique names.
        splits: n of `train`, `val`, `test`.
        labels: (n,) index into the class names.
        files: n paths, relative to the setting's folder of images.
        captions: n tuples of texts, empty where there is none.
        feature: (n,) is the feature in the image.
    """

    ids: tuple[str, ...]
    splits: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    files: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    feature: Bool[np.ndarray, " n"]

    def __post_init__(self) -> None:
        sizes = {field.name: len(getattr(self, field.name)) for field in dataclasses.fields(self)}
        if len(set(sizes.values())) > 1:
            raise VlmDataError(f"samples do not fit together: {sizes}; expected one entry each per image.")
        if len(set(self.ids)) != len(self.ids):
            raise VlmDataError("samples contain an id twice; every image must be listed once.")


def load_setting(folder: str | os.PathLike[str]) -> Setting:
    """Read what a controlled setting is.

    Raises:
        DataLayoutError: if the folder does not exist or holds no setting.
        VlmDataError: if its description is damaged.
    """
    path = Path(folder) / SETTING_FILE
    if not path.is_file():
        lack = f"has no {SETTING_FILE}" if Path(folder).is_dir() else "does not exist"
        inside = sorted(found.parent.name for found in Path(folder).glob(f"*/{SETTING_FILE}"))
        hint = (
            f"It holds {len(inside)} of them; write for example {Path(folder) / inside[0]}."
            if inside
            else ("`vlm spurious build` writes settings.")
        )
        raise DataLayoutError(f"{folder} {lack}. Expected the folder of one controlled setting. {hint}")
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        return _setting(written, Path(folder))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise VlmDataError(
            f"{path} does not describe a controlled setting: {error}. Expected what `vlm spurious build` writes "
            f"({FORMAT!r}). Build the setting again."
        ) from error


def setting_of(data: str, root: str | os.PathLike[str] | None = None) -> Setting:
    """Return the controlled setting that is meant by the name of a data set, `spurious:DIR`.

    Args:
        data: what stands behind `--data`.
        root: folder that a relative DIR starts from.

    Raises:
        CallError: if the data is no controlled setting.
        DataLayoutError: as `load_setting`.

    Example:
        >>> setting_of("digits")
        Traceback (most recent call last):
            ...
        vlm_data.errors.CallError: the data 'digits' is no controlled setting...
    """
    reader, _, source = data.partition(":")
    if reader != READER:
        raise CallError(
            f"the data {data!r} is no controlled setting, so nothing is known about what was planted. "
            f"Expected {READER}:DIR, where DIR was written by `vlm spurious build`."
        )
    return load_setting(source_path(READER, source, Path(root) if root else None))


def _setting(written: dict[str, Any], folder: Path) -> Setting:
    if written["format"] != FORMAT:
        raise ValueError(f"its format is {written['format']!r}")
    values = {field.name: written[field.name] for field in dataclasses.fields(Setting) if field.name != "folder"}
    values |= {name: tuple(values[name]) for name in ("class_names", "templates")}
    if values["spurious_class"] not in values["class_names"]:
        raise ValueError(f"{values['spurious_class']!r} is not among its classes")
    return Setting(**values, folder=folder)


def load_samples(setting: Setting) -> Samples:
    """Read the list of images of a setting.

    Raises:
        VlmDataError: if the file is missing, damaged or of another kind.
    """
    return read_table(setting.samples, "samples", SAMPLES_VERSION, _samples)


def _samples(table: pa.Table, _meta: dict[str, str]) -> Samples:
    def texts(name: str) -> tuple[str, ...]:
        return tuple(table[name].cast(pa.string()).to_pylist())

    return Samples(
        texts("id"),
        texts("split"),
        table["label"].to_numpy().astype(np.int64),
        texts("file"),
        tuple(map(tuple, table["captions"].to_pylist())),
        table["feature"].to_numpy().astype(np.bool_),
    )
