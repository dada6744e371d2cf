"""Functional Map of the World as WILDS hands it out: `fmow`."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped

from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.errors import DataLayoutError, listing
from vlm_data.file_benchmark import file_benchmark
from vlm_data.published import data_root, require_folder
from vlm_data.wilds import OOD, listed_files, read_columns

INFO = DatasetInfo(
    summary="satellite images of 62 kinds of land use; the shift is a later time, groups are regions and years",
    spec="fmow",
    layout="""\
fmow_v1.1/rgb_metadata.csv            one row per image: split, category, timestamp, country_code
fmow_v1.1/country_code_mapping.csv    region of every country
fmow_v1.1/images/rgb_img_ROW.png      ROW counts the rows of the table from 0
Below --data-root, as the package `wilds` downloads it (54 GB).
train, val and test are the images before 2013, the shift `ood` the test images from 2016 on.""",
)
NAME = "fmow"
OLD_UNTIL, NEW_FROM = 2013, 2016
"""Official split `time_after_2016`: years before 2013 train; 2013 to 2015 are for OOD validation, which is not used.

That training images are from before 2013 is what the published caption table has; the other years are those of WILDS.
"""
NO_REGION = "Other"


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the table; no image is opened.

    Raises:
        DataLayoutError: if the data is not there, or not laid out as `INFO.layout` says.
    """
    folder = require_folder(NAME, data_root(NAME, source, root), ("fmow_v1.1", "fmow"))
    path = folder / "rgb_metadata.csv"
    table = read_columns(path, ("split", "category", "timestamp", "country_code"))
    years = _years(table["timestamp"], path)
    names = asset_lines("fmow/class_names.txt")
    label_of = {name: label for label, name in enumerate(names)}
    strange = sorted(set(table["category"]) - label_of.keys())
    if strange:
        raise DataLayoutError(f"{path} has unknown categories: {listing(strange)}. Expected the 62 of WILDS.")
    files = listed_files(
        NAME,
        folder / "images",
        np.array([f"rgb_img_{row}.png" for row in range(len(years))], dtype=object),
        [label_of[category] for category in table["category"]],
        _splits(table["split"], years),
        {"region": _regions(table["country_code"], folder), "year": years},
    )
    benchmark = file_benchmark(NAME, names, asset_lines("fmow/templates.txt"), files, seed)
    return dataclasses.replace(benchmark, metrics=("worst_region_accuracy", "worst_year_accuracy"))


def _years(timestamps: Shaped[np.ndarray, " rows"], path: Path) -> Int64[np.ndarray, " rows"]:
    years = np.array([stamp[:4] if stamp[:4].isdecimal() else "0" for stamp in timestamps], dtype=np.int64)
    if (years == 0).any():
        row = int((years == 0).argmax())
        raise DataLayoutError(f"row {row} of {path} has the timestamp {timestamps[row]!r}. Expected a date.")
    return years


def _splits(parts: Shaped[np.ndarray, " rows"], years: Int64[np.ndarray, " rows"]) -> Shaped[np.ndarray, " rows"]:
    splits = np.full(len(parts), "", dtype=object)  # sequestered images ("seq") and those in between stay out
    for split in ("train", "val", "test"):
        splits[(parts == split) & (years < OLD_UNTIL)] = split
    splits[(parts == "test") & (years >= NEW_FROM)] = OOD
    return splits


def _regions(countries: Shaped[np.ndarray, " rows"], folder: Path) -> Shaped[np.ndarray, " rows"]:
    table = read_columns(folder / "country_code_mapping.csv", ("alpha-3", "region"))
    region_of = dict(zip(table["alpha-3"], table["region"], strict=True))
    return np.array([region_of.get(country) or NO_REGION for country in countries], dtype=object)
