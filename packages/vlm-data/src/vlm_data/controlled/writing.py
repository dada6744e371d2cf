"""Writing controlled settings, however they were made: one folder each, beside the images that they share."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlm_data.controlled.grid import Draft
from vlm_data.controlled.setting import (
    FORMAT,
    REGIONS_FILE,
    SAMPLES_FILE,
    SAMPLES_VERSION,
    SETTING_FILE,
    Samples,
    Setting,
)
from vlm_data.errors import CallError
from vlm_data.files import replacing_folder, write_text
from vlm_data.progress import Progress, silent
from vlm_data.tables.parquet import write_table
from vlm_data.tables.regions import Regions

POOL_FILE = "pool.json"
IMAGES = "images"


def write_drafts(
    out: str | os.PathLike[str],
    drafts: Iterable[Draft],
    *,
    pictures: Callable[[Path], None] | None = None,
    pool: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> list[Path]:
    """Write settings into a folder, `OUT/SETTING/...`, and the images that they share, `OUT/images/...`, at once.

    All of it appears when the last setting is made, or nothing does. A folder that has settings of the same images
    gets further ones.

    Args:
        out: of all settings; made where it is missing.
        drafts: the settings; they may be made while they are written.
        pictures: writes the images into the folder that it is given; None where settings point at images elsewhere.
        pool: what the images are made of; kept, and compared when settings are added.
        overwrite: replace settings and images that are there.
        progress: called after each setting.

    Returns:
        The folder of each setting.

    Raises:
        CallError: if a setting is there, or `out` has other images.
    """
    out, facts = Path(out), json.dumps(dict(pool or {}), indent=1, sort_keys=True) + "\n"
    shared = _same_pool(out, facts, overwrite) if pictures else False
    names: list[str] = []
    with replacing_folder(out, keep_others=True) as temporary:
        if pictures and not shared:
            pictures(temporary / IMAGES)
            write_text(temporary / POOL_FILE, facts)
        for draft in drafts:
            name = draft.setting.name
            if (out / name).exists() and not overwrite:
                raise CallError(
                    f"{out / name} is there already; expected a new setting. Name another folder with --out, leave "
                    "this setting out, or pass --overwrite."
                )
            write_setting(temporary / name, draft.setting, draft.samples, draft.regions)
            names.append(name)
            progress("settings written", len(names), len(names))
    return [out / name for name in names]


def _same_pool(out: Path, facts: str, overwrite: bool) -> bool:
    """Return whether the images that settings would share are there."""
    if not (out / IMAGES).exists():
        return False
    path = out / POOL_FILE
    found = path.read_text(encoding="utf-8") if path.is_file() else ""
    if found != facts and not overwrite:
        raise CallError(
            f"{out / IMAGES} holds images that were made in another way than these settings need. Expected a new "
            f"folder, or one whose {POOL_FILE} says the same. Name another folder with --out."
        )
    return found == facts


def write_setting(folder: Path, setting: Setting, samples: Samples, regions: Regions) -> None:
    """Write description, list of images and regions of a setting into a folder; equal settings are equal bytes.

    Args:
        folder: of this setting; a temporary one that is renamed when all is there (`vlm_data.files.replacing_folder`).
        setting: its `folder` is not written.
        samples: all images of all splits.
        regions: of all these images, with `labels`, `contents` and `spurious`.
    """
    columns = {
        "id": pa.array(samples.ids, pa.string()),
        "split": pa.array(samples.splits, pa.string()),
        "label": pa.array(samples.labels, pa.int32()),
        "file": pa.array(samples.files, pa.string()),
        "captions": pa.array(list(map(list, samples.captions)), pa.list_(pa.string())),
        "feature": pa.array(samples.feature, pa.bool_()),
    }
    write_table(folder / SAMPLES_FILE, "samples", SAMPLES_VERSION, columns, {"data": setting.name})
    regions.save(folder / REGIONS_FILE)
    written = {"format": FORMAT} | dataclasses.asdict(setting)
    del written["folder"]
    write_text(folder / SETTING_FILE, json.dumps(written, indent=1, sort_keys=True) + "\n")
