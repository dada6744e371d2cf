"""What a report says about the reasons of answers: sentences, tables, and where the pictures of a run are."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from vlm_eval.metrics.rationality import Share
from vlm_eval.rationality.comparison import Matched, RationaleTest
from vlm_eval.rationality.of_models import RationalityOfModels
from vlm_eval.rationality.scores import RationaleScores
from vlm_eval.report.pictures import png_source
from vlm_eval.report.tables import NOT_SCORED, Head, TextCell, TextLine, TextTable
from vlm_eval.report.wording import change_sentence, interval, percent, points
from vlm_eval.run_files import RATIONALES
from vlm_eval.score_table import Score
from vlm_eval.summary import FINE_TUNED, INTERPOLATED

GALLERY = "gallery.png"
"""The picture in `rationales/` that the report takes in."""
_SHARES: Mapping[Share, str] = {"pt": "PT", "ir": "IR"}
_MEASURES = {
    "area": "area of evidence",
    "mass": "mass",
    "normalised_mass": "mass / area",
    "pointing": "pointing game",
    "rank": "rank accuracy",
    "average_precision": "average precision",
    "insertion": "insertion",
    "deletion": "deletion",
}
_SUBJECTS = {FINE_TUNED: "Fine-tuning", INTERPOLATED: "Interpolation, against zero-shot,"}


@dataclasses.dataclass(frozen=True)
class RationalityText:
    """The section as text.

    Attributes:
        rule: what counts as valid evidence.
        how: settings that all models share.
        place: the data set told in full.
        sentences: what changed against the first model.
        caution: settings that differ between the models; empty where none does.
        models: a line per model on that data set.
        measures: a line per model with the means of all measures there; none if there are no more than mass and area.
        sets: a line per data set; none if there is one only.
        tests: a line per model and test on that data set.
        left_out: images that could not be judged; empty if there are none.
    """

    rule: str
    how: str
    place: str
    sentences: Sequence[str]
    caution: str
    models: TextTable
    measures: TextTable
    sets: TextTable
    tests: TextTable
    left_out: str


def rationality_as_text(found: RationalityOfModels) -> RationalityText:
    """Return the section of a run that has rationales."""
    place = _label(found, found.main)
    shared = found.shared
    how = ", ".join(
        f"{name.removeprefix('relevance_').replace('_', ' ')} {value}"
        for name, value in shared.items()
        if name != "rule" and not name.endswith("_hash") and value not in ("", "None")
    )
    differing = [one for one in found.differing if not one.partition(":")[0].endswith("_hash")]
    return RationalityText(
        rule=_rule(shared.get("rule", "")),
        how=how,
        place=place,
        sentences=_sentences(found, place),
        caution="; ".join(differing),
        models=_models(found),
        measures=_measures(found),
        sets=_sets(found),
        tests=_tests(found),
        left_out=_left_out(found.scores[next(iter(found.tables))][found.main]),
    )


def _rule(rule: str) -> str:
    """Return in words when relevance counts as falling on the evidence.

    Example:
        >>> _rule("mass>=0.5")
        'at least 0.5 of its relevance lies on the evidence'
    """
    measure, _, threshold = rule.partition(">=")
    return f"at least {threshold} of its relevance lies on the evidence" if measure == "mass" else rule


def gallery_source(run: Path) -> str:
    """Return the gallery of a run as the source of an image in a page; empty if there is none.

    Raises:
        VlmDataError: if the file is no PNG.
    """
    return png_source(run / RATIONALES / GALLERY, "vlm rationale")


def _label(found: RationalityOfModels, column: str) -> str:
    group = found.columns[column]
    return column.rsplit("/", 1)[-1] if group else "ID"


def _sentences(found: RationalityOfModels, place: str) -> list[str]:
    where = "the ID test set" if place == "ID" else place
    sentences = []
    for model, tests in found.tests.items():
        test = tests[found.main]
        for share, name in _SHARES.items():
            change = test.changes[share]
            if change is not None:
                sentences.append(change_sentence(_SUBJECTS.get(model, model), name, where, change))
        if test.both_right and test.both_right.n:
            one = test.both_right
            sentences.append(
                f"Of the {one.n} images that both get right, {one.only_first} rest on valid evidence in the "
                f"{_first(found)} model only and {one.only_second} in the {model} one only ({_p_value(one)})."
            )
    return sentences


def _first(found: RationalityOfModels) -> str:
    return next(iter(found.tables))


def _models(found: RationalityOfModels) -> TextTable:
    ones = {model: scores[found.main] for model, scores in found.scores.items()}
    has_flat = any(one.flat for one in ones.values())
    lines = []
    for model, one in ones.items():
        shares = [_cell(one.shares[name]) for name in ("accuracy", "pt", "ir", "validity")]
        mass = TextCell(percent(one.means["mass"])) if "mass" in one.means else TextCell(NOT_SCORED)
        flat = [TextCell(str(one.flat))] if has_flat else []
        lines.append(TextLine(model, (TextCell(str(one.counts.n)), *shares, mass, _area(one), *flat)))
    heads = ["images", "accuracy", "PT", "IR", "valid evidence", "mean mass", "mean area of evidence"]
    return TextTable(tuple(lines), _heads([*heads, "undefined maps, a number"] if has_flat else heads))


def _measures(found: RationalityOfModels) -> TextTable:
    ones = {model: scores[found.main].means for model, scores in found.scores.items()}
    known = [name for name in _MEASURES if any(name in means for means in ones.values())]
    if not set(known) - {"mass", "area"}:
        return TextTable(())
    lines = [
        TextLine(model, tuple(TextCell(f"{means[name]:.3f}" if name in means else NOT_SCORED) for name in known))
        for model, means in ones.items()
    ]
    return TextTable(tuple(lines), _heads([_MEASURES[name] for name in known]))


def _sets(found: RationalityOfModels) -> TextTable:
    if len(found.columns) < 2:
        return TextTable(())
    lines = []
    for column in found.columns:
        cells = [_cell(found.scores[model][column].shares[share]) for share in _SHARES for model in found.tables]
        lines.append(TextLine(_label(found, column), (*cells, _area(found.scores[_first(found)][column]))))
    names = [f"{name}: {model}" for name in _SHARES.values() for model in found.tables]
    heads = _heads((*names, "mean area of evidence"))
    starts = {0, len(found.tables), 2 * len(found.tables)}
    marked = tuple(dataclasses.replace(head, starts_group=place in starts) for place, head in enumerate(heads))
    return TextTable(tuple(lines), marked)


def _tests(found: RationalityOfModels) -> TextTable:
    lines = [
        TextLine(f"{model} against {_first(found)}", _test_cells(tests[found.main]))
        for model, tests in found.tests.items()
    ]
    heads = (
        "PT, points",
        "IR, points",
        "accuracy, points",
        "valid evidence where both are right",
        "right where both rest on valid evidence",
    )
    return TextTable(tuple(lines), _heads(heads))


def _test_cells(test: RationaleTest) -> tuple[TextCell, ...]:
    cells = []
    for share in ("pt", "ir", "accuracy"):
        change = test.changes[share]
        ends = "" if change is None else f"{points(change.low)} to {points(change.high)}"
        cells.append(TextCell(NOT_SCORED if change is None else points(change.difference), ends))
    return (*cells, _matched(test.both_right), _matched(test.both_valid))


def _matched(test: Matched | None) -> TextCell:
    if test is None or not test.n:
        return TextCell(NOT_SCORED)
    return TextCell(f"{test.only_first} lost, {test.only_second} won", f"of {test.n}, {_p_value(test)}")


def _p_value(test: Matched) -> str:
    return "p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.3f}"


def _left_out(one: RationaleScores) -> str:
    parts = {
        f"{one.no_evidence} without evidence, which count nowhere": one.no_evidence,
        f"{one.empty} with the evidence outside of what the model sees, counted as not valid": one.empty,
    }
    told = [text for text, number in parts.items() if number]
    return f"Of {one.n} images: {'; '.join(told)}." if told else ""


def _area(one: RationaleScores) -> TextCell:
    return TextCell(percent(one.means["area"])) if "area" in one.means else TextCell(NOT_SCORED)


def _cell(score: Score | None) -> TextCell:
    return TextCell(percent(score.value), interval(score)) if score else TextCell(NOT_SCORED)


def _heads(labels: Sequence[str]) -> tuple[Head, ...]:
    return tuple(Head(label, False, False) for label in labels)
