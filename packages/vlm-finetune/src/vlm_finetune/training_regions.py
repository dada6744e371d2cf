"""The regions of training images that a method asks for: read, checked, and joined with labels."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from vlm_data.benchmark import Benchmark
from vlm_data.caption_labels import caption_label
from vlm_data.dataset import UNLABELLED
from vlm_data.errors import CallError, listing
from vlm_data.region_batches import RegionSource
from vlm_data.tables import Regions
from vlm_finetune.recipe import METHODS, DataSettings


def check_regions(method: str, data: DataSettings) -> None:
    """Raise unless a table of regions is named exactly where the method looks at one, and is there.

    Raises:
        CallError: tells which flag to give, or to leave out.
    """
    needs = needs_regions(method)
    if data.regions and not needs:
        raise CallError(
            f"method {method} looks at no regions, but {data.regions} was given. Leave out --regions, or take "
            "--method region-aware."
        )
    if needs and not data.regions:
        raise CallError(
            f"method {method} has to know which regions of the training images are spurious. Name their table: "
            "--regions FILE, the train-regions.parquet of `vlm spurious discover` or the regions.parquet of a setting."
        )
    if needs and not Path(data.regions).is_file():
        raise CallError(
            f"--regions names {data.regions}, which is no file. Expected a table of regions, such as the "
            "train-regions.parquet that `vlm spurious discover` writes."
        )


def needs_regions(method: str) -> bool:
    """Return whether a method looks at regions, or at groups that follow from them.

    Example:
        >>> needs_regions("region-aware"), needs_regions("flyp")
        (True, False)
    """
    return getattr(METHODS.load(method), "NEEDS_REGIONS", False)


def training_regions(method: str, data: DataSettings, benchmark: Benchmark) -> RegionSource | None:
    """Return the regions of the training images; None for a method that looks at none.

    Args:
        method: its name.
        data: settings; `regions` names the file.
        benchmark: the data.

    Raises:
        CallError: if the file says nothing about these images, or about others, too; if no region is spurious; or if
            no training image has a class.
        VlmDataError: if it is no table of regions.
    """
    if not needs_regions(method):
        return None
    regions = Regions.load(Path(data.regions))
    _check_images(regions, data, benchmark)
    labels = training_labels(benchmark)
    if not (labels != UNLABELLED).any():
        raise CallError(
            f"method {method} needs classes, but no training image of {benchmark.name} has a label, and none has "
            f"captions that name exactly one of its {len(benchmark.class_names)} classes. Add a `label` column."
        )
    source = RegionSource.of(regions, benchmark.train, labels)
    if not source.spurious.any():
        raise CallError(
            f"none of the {len(source.spurious)} regions of training images in {data.regions} is spurious, so there is "
            "nothing to unlearn. Take another table, or fine-tune with --method standard."
        )
    return source


def _check_images(regions: Regions, data: DataSettings, benchmark: Benchmark) -> None:
    ids = set(regions.image_ids)
    if not ids:
        raise CallError(f"{data.regions} holds no region. Expected regions of the training images of {benchmark.name}.")
    own = ids.intersection(benchmark.train.ids)
    if not own:
        raise CallError(
            f"{data.regions} holds regions of other images: none of its {len(ids)} ids, such as "
            f"{listing(sorted(ids), most=3)}, is a training image of {benchmark.name} "
            f"({listing(benchmark.train.ids, most=3)}). Expected the table that was made for these images."
        )
    if _of_namesakes(regions, benchmark):
        raise CallError(
            f"{data.regions} was made for other images than those of {benchmark.name}, though they have the same "
            f"names, such as {listing(sorted(own), most=3)}. Expected the table that was made for these. Search the "
            "run on this data again, or name the table of this setting."
        )
    if data.limit or data.shots:  # the others may be those that were left out
        return
    known = {*benchmark.train.ids, *benchmark.val.ids, *benchmark.test.ids}
    strangers = sorted(ids - known)
    if strangers:
        raise CallError(
            f"{data.regions} holds regions of other data: {len(strangers)} of its {len(ids)} images are not in "
            f"{benchmark.name}, such as {listing(strangers, most=3)}. Expected the table that was made for these "
            "images. Name the right one."
        )


def _of_namesakes(regions: Regions, benchmark: Benchmark) -> bool:
    """Return whether a table tells that it is of other images of the same names: those of users are often `1.png`.

    A table of a discovery tells the fingerprint of all images that it is about; the true table of a setting shows
    nothing but what the setting that it lies in shows, in the same boxes.
    """
    train = benchmark.train
    told = regions.meta.get("fingerprint")
    if told:
        whole = regions.meta.get("split") == train.split and set(regions.image_ids) == set(train.ids)
        return whole and told != train.fingerprint
    if not (regions.meta.get("data") and benchmark.regions):
        return False
    own = Regions.load(benchmark.regions)
    shown, known = _shown(own), set(own.image_ids)
    return any(one not in shown and one[0] in known for one in _shown(regions))


def _shown(regions: Regions) -> set[tuple[object, ...]]:
    """Return the image and the box of every region, and what it shows."""
    contents = regions.contents or ("",) * len(regions)
    return {
        (name, word, *box) for name, word, box in zip(regions.image_ids, contents, regions.boxes.tolist(), strict=True)
    }


def training_labels(benchmark: Benchmark) -> Int64[np.ndarray, " n"]:
    """Return the class of every training image: its label, else the only class that its captions name.

    Example:
        >>> from vlm_data import load_benchmark
        >>> digits = load_benchmark("digits", limit=30)
        >>> bool((training_labels(digits) == digits.train.labels).all())
        True
    """
    train = benchmark.train
    labels = train.labels.copy()
    if train.captions:
        for row in np.flatnonzero(labels == UNLABELLED):
            labels[row] = caption_label(" ; ".join(train.captions[row]), benchmark.class_names)
    return labels


def group_weights(source: RegionSource) -> Float64[np.ndarray, " n"]:
    """Return how often to draw each image so that all groups are seen equally often.

    A group is a class with or without the spurious feature; those without images are left out. Images without a class
    are drawn as often as they would be without weights.

    Example:
        >>> regions = Regions(("a",), np.array([[0.0, 0.0, 1.0, 1.0]]), spurious=np.array([True]))
        >>> bounds, labels = np.array([0, 1, 1, 1]), np.array([2, 2, 2])
        >>> group_weights(RegionSource(regions.boxes, regions.spurious, bounds, labels))
        array([1.5 , 0.75, 0.75])
    """
    known = source.groups >= 0
    _, group, counts = np.unique(source.groups[known], return_inverse=True, return_counts=True)
    weights = np.ones(len(known))
    weights[known] = known.sum() / (len(counts) * counts[group])
    return weights
