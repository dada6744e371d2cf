"""Caltech101 as its authors hand it out, or prepared as class folders of splits: `caltech101`."""

import dataclasses
from functools import partial
from pathlib import Path

from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark, DatasetInfo
from vlm_data.caltech101.outlines import outline_files
from vlm_data.caltech101.published_split import published_files
from vlm_data.errors import DataLayoutError
from vlm_data.file_benchmark import file_benchmark
from vlm_data.prepared import Folders, folders_benchmark, split_folders
from vlm_data.published import data_root, named_options, require_folder, same_names

INFO = DatasetInfo(
    summary="photographs and drawings of 101 kinds of objects; evidence is the outline of the object",
    spec="caltech101",
    layout="""\
caltech-101/101_ObjectCategories/CLASS/*.jpg   60/20/20 per class are drawn with the seed, background left out
caltech-101/train/CLASS/*.jpg                  instead: prepared splits, with val and test likewise
caltech-101/Annotations/*/annotation_*.mat     optional: outlines, evidence of all images but the background
--data caltech101:published                    the split of a published comparison of rationales: every fifth
                                               annotated image is tested, "background google" is a 102nd class name
Below --data-root; the folder may also be called caltech101 or caltech_101/caltech-101. Beside it yes_seg.json and
label_dict.json are read for caltech101:published, where they are there.""",
)
NAME = "caltech101"
PUBLISHED = "published"
PLACES = ("caltech-101", "caltech101", "caltech_101/caltech-101")
BACKGROUND = ("BACKGROUND_Google",)
SHARE = 0.2
"""Of validation and of test, each; the split of FLYP has these sizes and was drawn without a seed."""


def load(source: str, root: Path | None, seed: int) -> Benchmark:
    """Read the class folders; no image and no outline is opened.

    Raises:
        CallError: for an option that is not `published`.
        DataLayoutError: if the data is not there, or not laid out as `INFO.layout` says.
    """
    options = named_options(NAME, source, (PUBLISHED,))
    folder = require_folder(NAME, data_root(NAME, "", root), PLACES)
    whole = folder / "101_ObjectCategories"
    if options:
        return _published(whole, seed)
    trees = {"train": whole} if whole.is_dir() else split_folders(folder)
    cells = [line.split("\t") for line in asset_lines("caltech101/class_names.tsv")]
    classes = Folders(tuple(name for _, name in cells), tuple(key for key, _ in cells))
    outlines = partial(outline_files, folder)
    return folders_benchmark(NAME, trees, classes, seed, besides=BACKGROUND, share=SHARE, evidence=outlines)


def _published(whole: Path, seed: int) -> Benchmark:
    if not whole.is_dir():
        raise DataLayoutError(
            f"there is no folder {whole}. Expected the archive of the authors for --data {NAME}:{PUBLISHED}, whose "
            f"split counts the images in it. Unpack it there, or write --data {NAME} for prepared splits."
        )
    names, files = published_files(whole)
    benchmark = file_benchmark(f"{NAME}-{PUBLISHED}", names, asset_lines("templates/bare-v1.txt"), files, seed)
    return dataclasses.replace(benchmark, notes=same_names(names))
