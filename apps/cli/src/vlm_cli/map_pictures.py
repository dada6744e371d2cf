"""Maps of single images: written as pictures, shown as a table."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_explain.explanations import ExplainedImage, Explanation


@dataclasses.dataclass(frozen=True)
class WrittenMap:
    """One line of the table.

    Attributes:
        image: sample id, or path of the file.
        label: true class, empty where unknown.
        explanation: one map.
        path: the picture it is in.
    """

    image: str
    label: str
    explanation: "Explanation"
    path: Path

    def document(self) -> dict[str, Any]:
        """Return plain values; what is undefined is None."""
        one = self.explanation
        names = ("model", "prediction", "probability", "target", "target_probability", "status")
        measures = {
            name: None if value != value else value for name, value in one.measures.items()
        }  # NaN is not itself
        told = {name: getattr(one, name) for name in names}
        return {"image": self.image, "label": self.label or None, **told, "measures": measures, "file": str(self.path)}


def write_maps(images: "Iterable[ExplainedImage]", folder: Path) -> list[WrittenMap]:
    """Write a PNG for every image, its maps side by side; models that see other pixels have rows of their own."""
    import itertools

    from vlm_explain.pictures import stacked, write_picture

    written: list[WrittenMap] = []
    taken: set[str] = set()
    for name, entries in itertools.groupby(images, lambda one: one.name):
        of_image = list(entries)
        path = folder / f"{_free_name(name, taken)}.png"
        write_picture(stacked([_picture(one) for one in of_image]), path)
        written += [WrittenMap(name, one.label, map_, path) for one in of_image for map_ in one.explanations]
    return written


def show_explanations(found: Sequence[WrittenMap], console: Console) -> None:
    """Print one line per image, model and class."""
    known = any(one.explanation.status != "no-evidence" for one in found)
    several = any(one.explanation.target not in (one.label, one.explanation.prediction) for one in found)
    heads = ["image", "model", *(["label"] if any(one.label for one in found) else []), "prediction", "probability"]
    heads += ["explained", *(["its probability"] if several else []), *(["mass"] if known else []), "file"]
    rows = [[_cells(one)[head] for head in heads] for one in found]
    caption = "mass: share of the relevance that lies on the evidence" if known else ""
    console.table("relevance maps", heads, rows, caption)


def _cells(one: WrittenMap) -> dict[str, str]:
    found = one.explanation
    return {
        "image": one.image,
        "model": found.model,
        "label": one.label,
        "prediction": found.prediction,
        "probability": f"{100 * found.probability:.1f} %",
        "explained": found.target,
        "its probability": f"{100 * found.target_probability:.1f} %",
        "mass": f"{100 * found.measures['mass']:.1f} %" if found.status == "ok" else found.status,
        "file": str(one.path),
    }


def _picture(one: "ExplainedImage") -> Any:
    from vlm_explain.pictures import side_by_side, stacked

    of_models: dict[str, list[Explanation]] = {}
    for found in one.explanations:
        of_models.setdefault(found.model, []).append(found)
    title = f"{one.name}{': ' + one.label if one.label else ''}"
    if all(len(maps) == 1 for maps in of_models.values()):
        maps = {found.model: found.heatmap for found in one.explanations}
        captions = {found.model: _caption(found, of_class=False) for found in one.explanations}
        return side_by_side(one.image, maps, one.evidence, captions=captions, title=title)
    pictures = []
    for model, explanations in of_models.items():
        maps = {found.target: found.heatmap for found in explanations}
        captions = {found.target: _caption(found, of_class=True) for found in explanations}
        pictures.append(side_by_side(one.image, maps, one.evidence, captions=captions, title=f"{title}, {model}"))
    return stacked(pictures)


def _caption(found: "Explanation", of_class: bool) -> str:
    answer = f"{found.target_probability:.0%}" if of_class else f"{found.prediction} {found.probability:.0%}"
    mass = f"{found.measures['mass']:.0%} on evidence" if found.status == "ok" else found.status
    return answer if found.status == "no-evidence" else f"{answer}, {mass}"


def _free_name(name: str, taken: set[str]) -> str:
    """Return a file name for an image: its last part, numbered where an image before it is called alike."""
    import itertools

    from vlm_data.table_facts import file_stem

    short = file_stem(Path(name).stem if Path(name).suffix else name)
    numbered = (short if number == 1 else f"{short}-{number}" for number in itertools.count(1))
    chosen = next(one for one in numbered if one not in taken)
    taken.add(chosen)
    return chosen
