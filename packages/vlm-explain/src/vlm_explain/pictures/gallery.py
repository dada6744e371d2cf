"""A gallery of rationales: right for the right reason, right for the wrong reason, wrong for the right reason."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool
from PIL import Image

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError, listing, unknown_name
from vlm_data.evidence_batches import evaluation_masks
from vlm_data.loading import evaluation_batches
from vlm_data.tables import Rationales
from vlm_data.tables.rationales import OK
from vlm_data.transforms import HALF
from vlm_explain.pictures.colours import FAINT, INK, RIGHT, WRONG
from vlm_explain.pictures.overlay import overlay
from vlm_explain.pictures.sheet import Panel, Row, sheet
from vlm_explain.rationale.over_data import options_facts
from vlm_explain.rationale.rule import Rule
from vlm_explain.relevance import RelevanceOptions, explain_batch
from vlm_models.classifier import Classifier

KINDS: dict[str, Callable[[Rationales], np.ndarray]] = {
    "right for the right reason": lambda table: table.correct & table.rational,
    "right for the wrong reason": lambda table: table.correct & ~table.rational,
    "wrong for the right reason": lambda table: ~table.correct & table.rational,
    "wrong for the wrong reason": lambda table: ~table.correct & ~table.rational,
}
"""The four cells of the table of answers and evidence."""
USUAL = tuple(KINDS)[:3]


@dataclasses.dataclass(frozen=True)
class Shown:
    """One model of a gallery: a column.

    Attributes:
        name: heading of the column.
        model: the classifier, for its maps.
        table: its rationales on the data set of the gallery.
        options: the relevance that the table was made with.
    """

    name: str
    model: Classifier
    table: Rationales
    options: RelevanceOptions = RelevanceOptions()  # noqa: RUF009  (frozen)


def gallery(
    dataset: ImageDataset,
    shown: Sequence[Shown],
    *,
    kinds: Sequence[str] = USUAL,
    per_kind: int = 2,
    title: str = "",
    side: int = 150,
) -> Image.Image:
    """Draw examples of each kind of rationale: the image with its evidence, and the map of every model.

    The last model decides of which kind an image is. Examples are the clearest ones: those whose measure lies farthest
    from the threshold, of different classes as far as there are. The title of a row tells how many images are of its
    kind, so that nobody takes a rare case for the rule.

    Args:
        dataset: the images.
        shown: the models, for example zero-shot and fine-tuned.
        kinds: rows, names of `KINDS`.
        per_kind: examples in a row.
        title: words above everything.
        side: of a picture in pixels.

    Raises:
        CallError: if a table is not about this data set or these options, the data set has classes of its own, a kind
            is unknown, or no image is of any of the kinds.
    """
    _check(dataset, shown, kinds, per_kind)
    deciding = shown[-1].table
    found = {kind: np.flatnonzero(_of_kind(deciding, kind)) for kind in kinds}
    chosen = {kind: _clearest(deciding, rows, per_kind) for kind, rows in found.items()}
    wanted = sorted({row for rows in chosen.values() for row in rows})
    if not wanted:
        raise CallError(
            f"no image of {dataset.name} ({dataset.split}) with evidence is {' or '.join(kinds)}; expected at least "
            "one. Choose other kinds, or more images."
        )
    panels = dict(zip(wanted, _panels(dataset, wanted, shown, side), strict=True))
    counted = sum(word == OK for word in deciding.status)
    rows = [
        Row(
            [panel for row in chosen[kind] for panel in panels[row]],
            f"{kind}: {len(found[kind])} of {counted} images ({len(found[kind]) / counted:.0%})",
        )
        for kind in kinds
    ]
    width = 1 + len(shown)
    rule = deciding.meta.get("rule", str(Rule()))
    return sheet(
        rows,
        heading=title or f"{dataset.name}, {shown[-1].name} by {rule}: the clearest examples of each kind",
        columns=["image", *(one.name for one in shown)] * per_kind,
        gaps=range(width, width * per_kind, width),
    )


def _of_kind(table: Rationales, kind: str) -> Bool[np.ndarray, " n"]:
    defined = np.array([word == OK for word in table.status], dtype=bool)
    return KINDS[kind](table) & defined & table.labelled


def _clearest(table: Rationales, rows: np.ndarray, count: int) -> list[int]:
    """Return the rows whose measure is farthest from the threshold, the first of every class before second ones."""
    rule = Rule.parse(table.meta.get("rule", str(Rule())))
    distance = np.abs(table.measures[rule.measure] - rule.threshold)[rows]
    order = rows[np.argsort(-distance, kind="stable")]
    labels = table.labels[order]
    turn = np.array([(labels[:place] == label).sum() for place, label in enumerate(labels)], dtype=np.int64)
    return order[np.argsort(turn, kind="stable")][:count].tolist()


def _panels(dataset: ImageDataset, rows: Sequence[int], shown: Sequence[Shown], side: int) -> list[list[Panel]]:
    """Return for every image its panels: the image with evidence, and its map by every model."""
    places = np.asarray(rows)
    names = shown[0].model.class_names
    found: list[list[Panel]] = []
    for number, one in enumerate(shown):
        preprocess = one.model.encoder.preprocess
        level = int(one.table.meta.get("evidence_level", HALF))
        masks, _ = evaluation_masks(dataset, places, preprocess, level=level)
        (batch,) = evaluation_batches(dataset.select(rows), preprocess, len(rows), workers=0)
        explained = explain_batch(one.model, batch.images, batch.labels, one.options)
        maps = explained.maps.cpu().numpy()
        for place, row in enumerate(rows):
            image = batch.images[place].permute(1, 2, 0).numpy()
            if number == 0:
                words = ((names[int(one.table.labels[row])], INK), ("evidence outlined", FAINT))
                found.append([Panel(overlay(image, None, masks[place], side=side), words)])
            picture = overlay(image, maps[place], masks[place], side=side)
            found[place].append(Panel(picture, _verdict(one.table, row, names)))
    return found


def _verdict(table: Rationales, row: int, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return prediction and mass of an image in words."""
    right = bool(table.correct[row])
    answer = f"{names[int(table.predicted[row])]}: {'right' if right else 'wrong'}"
    mass = table.measures["mass"][row]
    rests = f"{mass:.0%} on evidence" if table.status[row] == OK else table.status[row]
    valid = bool(table.rational[row])
    return (answer, RIGHT if right else WRONG), (rests, RIGHT if valid else WRONG)


def _check(dataset: ImageDataset, shown: Sequence[Shown], kinds: Sequence[str], per_kind: int) -> None:
    if not shown or per_kind < 1:
        raise CallError(f"a gallery of {len(shown)} models and {per_kind} examples shows nothing; expected some.")
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_name("kind of rationale", kind, KINDS)
    for one in shown:
        if "classes_hash" in one.table.meta:
            raise CallError(
                f"{dataset.name} has classes of its own, which a gallery cannot name; expected the model's."
            )
        if any(one.table.meta.get(name, value) != value for name, value in options_facts(one.options).items()):
            raise CallError(
                f"the rationales of {one.name} were made with other relevance than {one.options}; maps would not be "
                "those that were judged. Expected the options of the table."
            )
        if tuple(one.table.ids) != tuple(dataset.ids):
            other = [f"{a} / {b}" for a, b in zip(one.table.ids, dataset.ids, strict=False) if a != b]
            raise CallError(
                f"the rationales of {one.name} are about other images than {dataset.name} ({dataset.split}): "
                f"{one.table.n} and {len(dataset)} images{', ' + listing(other, 2) if other else ''}. Expected the "
                "same images in the same order; make them again on this data."
            )
