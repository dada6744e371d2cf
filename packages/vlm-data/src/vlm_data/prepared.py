"""Published data sets that are prepared as class folders: `train/CLASS/*`, `val/CLASS/*`, `test/CLASS/*`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vlm_data.asset import asset_lines
from vlm_data.benchmark import Benchmark
from vlm_data.class_folders import class_folders
from vlm_data.errors import DataLayoutError, listing
from vlm_data.evidence.source import EvidenceSource
from vlm_data.file_benchmark import DRAWN_SHARE, SPLIT_WORDS, check_coverage, file_benchmark
from vlm_data.published import Labelled, file_list, same_names


@dataclasses.dataclass(frozen=True)
class Folders:
    """How the class folders of a data set are called.

    Attributes:
        names: display name of every class, in label order.
        keys: what the authors call the folders, in the same order; empty where they are called by display name.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...] = ()

    def label(self, folder: str) -> int | None:
        """Return the class of a folder called by key or display name; capitals, "_" for " " and "-" for "/" are alike.

        Example:
            >>> Folders(("lymph node", "tumor")).label("Lymph_node"), Folders(("a/b",)).label("a-b")
            (0, 0)
        """
        return self._labels.get(_plain(folder))

    @property
    def _labels(self) -> Mapping[str, int]:
        return {_plain(name): label for listed in (self.names, self.keys) for label, name in enumerate(listed)}


def split_folders(folder: Path) -> dict[str, Path]:
    """Return where the splits lie in a folder: `train`, `val` (or `valid`, `validation`), `test`.

    Example:
        >>> split_folders(Path("/nowhere"))
        {}
    """
    return {split: folder / word for word, split in SPLIT_WORDS.items() if (folder / word).is_dir()}


def folders_benchmark(
    name: str,
    trees: Mapping[str, Path],
    folders: Folders | None,
    seed: int,
    *,
    besides: Sequence[str] = (),
    share: float = DRAWN_SHARE,
    evidence: Callable[[Sequence[tuple[str, Path]]], EvidenceSource | None] = lambda _: None,
) -> Benchmark:
    """Read class folders into a benchmark; templates are those of the asset `NAME/templates.txt`.

    A copy with some of the classes is read as it is, which a note tells. Missing splits are drawn with the seed.

    Args:
        name: of the data set.
        trees: where the class folders of each split lie.
        folders: names of the classes; None takes the folders of `train`, sorted, by their own names.
        seed: of what is drawn.
        besides: folders that are no classes.
        share: of the images of a class that a missing split gets.
        evidence: finds what is known about the images, given id and file of each.

    Raises:
        DataLayoutError: for no training images, folders that are no classes, and what `class_folders` refuses.
    """
    if "train" not in trees:
        raise DataLayoutError(f"{name} has no training images. Expected train/CLASS/*.jpg beside val and test.")
    contents = {
        split: {key: paths for key, paths in class_folders(folder).items() if key not in besides}
        for split, folder in trees.items()
    }
    known = folders or Folders(tuple(sorted(contents["train"])))
    label_of = _labels(trees, contents, known)
    present = sorted(set(label_of.values()))
    images: list[Labelled] = [
        (f"{split}/{key}/{path.name}", path, present.index(label_of[key]), split)
        for split, classes in contents.items()
        for key in sorted(classes, key=lambda key: (label_of[key], key))
        for path in classes[key]
    ]
    names = [known.names[label] for label in present]
    source = evidence([(image, path) for image, path, _, _ in images])
    files = dataclasses.replace(file_list(images), evidence_source=source)
    check_coverage(name, names, files)
    benchmark = file_benchmark(name, names, asset_lines(f"{name}/templates.txt"), files, seed, share=share)
    few = f"{len(present)} of the {len(known.names)} classes are in {trees['train']}."
    told = (*((few,) if len(present) < len(known.names) else ()), *same_names(names))
    return dataclasses.replace(benchmark, notes=told)


def _labels(trees: Mapping[str, Path], contents: Mapping[str, Mapping[str, object]], known: Folders) -> dict[str, int]:
    """Return the class of every class folder of any split."""
    label_of: dict[str, int] = {}
    for split, classes in contents.items():
        labels = {key: known.label(key) for key in classes}
        label_of |= {key: label for key, label in labels.items() if label is not None}
        strange = sorted(key for key, label in labels.items() if label is None)
        if strange:
            raise DataLayoutError(
                f"{trees[split]} has folders that are no classes: {listing(strange)}. "
                f"Expected {listing(known.keys or known.names, most=3)}. Rename or remove them."
            )
    return label_of


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("/", "-").replace("_", " ").split())
