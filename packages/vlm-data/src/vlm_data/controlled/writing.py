"""Writing controlled settings, however they were made: one folder each, beside the images that they share."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    SHARED_IMAGES,
    Samples,
    Setting,
    load_setting,
)
from vlm_data.errors import CallError, listing
from vlm_data.files import replacing_folder, write_text
from vlm_data.progress import Progress, silent
from vlm_data.tables.parquet import write_table
from vlm_data.tables.regions import Regions

POOL_FILE = "pool.json"
IMAGES = "images"


def write_drafts(
    out: str | os.PathLike[str],
    drafts: Iterable[Draft],
    count: int,
    *,
    pictures: Callable[[Path], None] | None = None,
    pool: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> list[Path]:
    """Write settings into a folder, `OUT/SETTING/...`, and the images that they share, `OUT/images/...`, at once.

    All of it appears when the last setting is made, or nothing does. A folder that has settings of the same images
    gets further ones. Equal settings are equal bytes.

    Args:
        out: of all settings; made where it is missing.
        drafts: the settings; they may be made while they are written.
        count: how many there are, for progress.
        pictures: writes the images into the folder that it is given; None where settings point at images elsewhere.
        pool: what the images are made of; kept, and compared when settings are added.
        overwrite: replace settings and images that are there.
        progress: called after each setting.

    Returns:
        The folder of each setting.

    Raises:
        CallError: if a setting is there, or `out` has other images; with `overwrite`, if what is there is none of ours,
            or settings that are not made again would lose their images.
    """
    out, facts = Path(out), _pool_text(pool)
    new_pictures = pictures is not None and not _has_pool(out, facts, overwrite)
    names: list[str] = []
    with replacing_folder(out, keep_others=True) as temporary:
        for draft in drafts:
            name = draft.setting.name
            _check_free(out / name, SETTING_FILE, overwrite)
            write_setting(temporary / name, draft.setting, draft.samples, draft.regions)
            names.append(name)
            progress("settings written", len(names), count)
        if pictures and new_pictures:
            _check_alone(out, names)
            pictures(temporary / IMAGES)
            write_text(temporary / POOL_FILE, facts)
    return [out / name for name in names]


def check_place(
    out: str | os.PathLike[str],
    names: Sequence[str],
    *,
    pool: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Check what `write_drafts` checks of the folder, without writing anything.

    Args:
        out: of all settings.
        names: of the settings that would be written.
        pool: what the images are made of; None where settings point at images elsewhere.
        overwrite: see `write_drafts`.

    Raises:
        CallError: see `write_drafts`.
    """
    out = Path(out)
    for name in names:
        _check_free(out / name, SETTING_FILE, overwrite)
    if pool is not None and not _has_pool(out, _pool_text(pool), overwrite):
        _check_alone(out, names)


def _pool_text(pool: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(pool or {}), indent=1, sort_keys=True) + "\n"


def _has_pool(out: Path, facts: str, overwrite: bool) -> bool:
    """Return whether the images that settings would share are there."""
    path = out / POOL_FILE
    if path.is_file() and (out / IMAGES).is_dir() and path.read_bytes() == facts.encode():
        return True
    if path.is_file() and not overwrite:
        raise CallError(
            f"{out} holds settings of images that were made in another way than these need, see {path}. "
            "Expected the same source, feature, canvas and sizes, or a new folder. Name another folder with --out."
        )
    _check_free(out / IMAGES, f"../{POOL_FILE}", overwrite)
    return False


def _check_free(folder: Path, mark: str, overwrite: bool) -> None:
    """Check that a folder may be written: it is not there, or `overwrite` is and it holds what we would write."""
    if os.path.lexists(folder) and not (overwrite and (folder / mark).is_file()):
        ours = "replace it with --overwrite, " if (folder / mark).is_file() else ""
        raise CallError(
            f"{folder} is there already; expected a new name, so that nothing is lost. Name another folder with --out, "
            f"{ours}or remove it."
        )


def _check_alone(out: Path, names: Sequence[str]) -> None:
    """Check that no setting but the new ones would find other images than it was made of."""
    found = sorted(path.parent.name for path in out.glob(f"*/{SETTING_FILE}"))
    kept = [name for name in found if name not in names and load_setting(out / name).images == SHARED_IMAGES]
    if kept:
        raise CallError(
            f"{out} has {len(kept)} settings whose images would be replaced: {listing(kept)}. Expected to make these "
            "again, too, or a new folder. Name another folder with --out, or remove these settings."
        )


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
