"""From a model and a benchmark to discovered clusters: what `vlm spurious discover` does before it shows anything."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_cli.console import Console
from vlm_cli.spurious.region_choice import RegionChoice

if TYPE_CHECKING:
    from vlm_data.benchmark import Benchmark
    from vlm_data.dataset import ImageDataset
    from vlm_data.tables import Predictions, Regions
    from vlm_explain.discovery import Discovery, DiscoveryOptions
    from vlm_models.classifier import Classifier

SPLITS = ("val", "test")
PREDICTIONS, TRAIN_REGIONS, SHEETS, CACHE = "predictions.parquet", "train-regions.parquet", "sheets", "cache"
DOCUMENT, REGIONS = "discovery.json", "regions.parquet"
_OWN = (DOCUMENT, "validity.json", f"{SHEETS}/cluster-*.png", TRAIN_REGIONS, PREDICTIONS, "clusters.parquet", REGIONS)
"""What discovery writes, and what is told about it: nothing of an earlier one stays beside a new one."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found, and where it was written.

    Attributes:
        discovery: every cluster with its statistics.
        folder: everything that was written.
        sheets: pictures of clusters.
        train_regions: regions of the training images with their clusters, None where nothing was found.
    """

    discovery: "Discovery"
    folder: Path
    sheets: tuple[Path, ...]
    train_regions: Path | None

    def document(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "folder": str(self.folder),
            "train_regions": None if self.train_regions is None else str(self.train_regions),
            "sheets": [str(path) for path in self.sheets],
            **self.discovery.document(),
        }


def default_folder(spec: str, data: str) -> Path:
    """Return where discovery goes: into the run that is searched, else to `runs/spurious/`.

    Example:
        >>> default_folder("run:runs/a", "digits").as_posix(), default_folder("tiny", "digits").as_posix()
        ('runs/a/spurious', 'runs/spurious/tiny-on-digits')
    """
    from vlm_data.table_facts import file_stem
    from vlm_models.spec import parse_spec

    parts = parse_spec(spec)
    if parts.family == "run":
        return Path(parts.source) / "spurious"
    return Path("runs/spurious") / f"{file_stem(spec)}-on-{file_stem(data)}"


def search(
    model: "Classifier",
    benchmark: "Benchmark",
    split: str,
    regions: RegionChoice,
    options: "DiscoveryOptions",
    predictions: Path | None,
    out: Path,
    console: Console,
) -> Found | None:
    """Search one split for what the model leans on, and tell which training images hold it.

    Returns:
        None on all processes but the main one.
    """
    from vlm_explain.discovery import discover

    _check_folder(out)
    dataset = benchmark.val if split == "val" else benchmark.test
    answers = _answers(model, dataset, predictions, console)
    console.say(f"embedding regions of {len(dataset)} images")
    seen = regions.of(model, benchmark, dataset, out / CACHE, console)
    console.say(f"clustering {len(seen)} regions and testing the clusters")
    discovery = discover(seen, answers, options, class_names=benchmark.class_names)
    assigned = _assigned(discovery, model, benchmark, regions, out, console) if discovery.found else None
    if not console.is_main:
        return None
    return _write(discovery, dataset, answers, assigned, out)


def _check_folder(out: Path) -> None:
    """Raise if a discovery would replace a table of regions that is none of a discovery: that of a setting."""
    from vlm_data.errors import CallError

    if (out / REGIONS).exists() and not (out / DOCUMENT).exists():
        raise CallError(
            f"{out} holds a {REGIONS} that no discovery wrote, for there is no {DOCUMENT}; it would be replaced. "
            "Expected a new folder, or one of an earlier discovery. Name another folder with --out."
        )


def _assigned(
    discovery: "Discovery",
    model: "Classifier",
    benchmark: "Benchmark",
    regions: RegionChoice,
    out: Path,
    console: Console,
) -> "Regions | None":
    """Return the regions of the training images with their clusters; None where there are no such regions."""
    from vlm_data.errors import CallError
    from vlm_explain.discovery import assign

    console.say(f"looking for the same in {len(benchmark.train)} training images")
    try:
        return assign(discovery, regions.of(model, benchmark, benchmark.train, out / CACHE, console))
    except CallError as error:  # a table of regions may be about the searched images alone
        console.say(f"note: no {TRAIN_REGIONS}: {error}")
        return None


def _answers(model: "Classifier", dataset: "ImageDataset", predictions: Path | None, console: Console) -> "Predictions":
    """Return the answers to search: those of the model, or those of a table about the same images."""
    from vlm_data.errors import CallError
    from vlm_data.tables import Predictions
    from vlm_eval import predict

    if predictions is None:
        return predict(model, dataset, progress=console.progress)
    answers = Predictions.load(predictions)
    strange = set(dataset.ids) ^ set(answers.ids)
    if strange:
        raise CallError(
            f"{predictions} holds answers on {len(answers)} images, {dataset.name} ({dataset.split}) has "
            f"{len(dataset)}; {len(strange)} are in one of the two only, for example {min(strange)!r}. Expected the "
            "predictions of a model on these images; name the --data, --split and --limit of the table."
        )
    _check_labels(predictions, answers, dataset)
    return answers


def _check_labels(path: Path, answers: "Predictions", dataset: "ImageDataset") -> None:
    """Raise unless images of one name are of one class: other data may name its images alike."""
    from vlm_data.dataset import UNLABELLED
    from vlm_data.errors import CallError

    known = dict(zip(dataset.ids, dataset.labels.tolist(), strict=True))
    pairs = [(name, label, known[name]) for name, label in zip(answers.ids, answers.labels.tolist(), strict=True)]
    strange = [pair for pair in pairs if UNLABELLED not in pair and pair[1] != pair[2]]
    if strange:
        name, told, own = strange[0]
        raise CallError(
            f"{path} tells other classes than {dataset.name} ({dataset.split}) for {len(strange)} of {len(pairs)} "
            f"images, for example label {told} of {name!r}, which is {own} there. Expected the predictions of a model "
            "on this data; name the --data of the table."
        )


def _write(
    discovery: "Discovery", dataset: "ImageDataset", answers: "Predictions", assigned: "Regions | None", out: Path
) -> Found:
    """Write everything in place of what an earlier search left; what makes it a discovery comes last."""
    from vlm_explain.pictures import write_cluster_sheets

    for path in [path for name in _OWN for path in out.glob(name)]:
        path.unlink()
    answers.save(out / PREDICTIONS)
    sheets = write_cluster_sheets(discovery, dataset, answers, out / SHEETS)
    path = None
    if assigned is not None:
        path = out / TRAIN_REGIONS  # without vectors: training makes its own
        assigned.replace(embeddings=None, logits=None).save(path)
    discovery.save(out)
    return Found(discovery, out, tuple(sheets), path)
