"""Tables of a report with a line per data set: which alpha, calibration after scaling, differing answers."""

from collections.abc import Sequence

from vlm_eval.alpha_choice import AlphaChoices
from vlm_eval.comparing.disagreement import Disagreement
from vlm_eval.report.tables import NOT_SCORED, Head, TextLine, TextTable, model_name
from vlm_eval.report.wording import percent, points
from vlm_eval.score_table import ScoreTable


def choices_as_text(choices: AlphaChoices) -> TextTable:
    """Return accuracy at the fixed and the held-out alpha, and apart from them the oracle with the gap to each."""
    held_out = "–" if choices.held_out is None else f"{choices.held_out:g}"
    heads = (f"fixed, α = {choices.fixed:g}", f"best on ID validation, α = {held_out}")
    lines = [
        TextLine(
            one.label,
            (
                _share(one.fixed),
                _share(one.held_out),
                f"{percent(one.oracle)} (α = {one.oracle_alpha:g})",
                _gap(one.gap_fixed),
                _gap(one.gap_held_out),
            ),
        )
        for one in choices.columns
    ]
    return TextTable(
        tuple(lines), _heads(*heads, "oracle, sees the test labels", "gap of fixed", "gap of ID validation")
    )


def rescaled_as_text(summary: ScoreTable) -> TextTable:
    """Return ECE before and after temperature scaling, a line per data set and a column per model.

    No lines if no model has a temperature.
    """
    models = [line for line in summary.lines if any("ece_rescaled" in cell for cell in line.cells.values())]
    lines = []
    for column in summary.columns if models else ():
        cells = [model.cells.get(column.key, {}) for model in models]
        texts = [
            f"{percent(cell['ece'].value)} → {percent(cell['ece_rescaled'].value)}"
            + (f" ({points(cell['overconfidence'].value)})" if "overconfidence" in cell else "")
            if "ece" in cell and "ece_rescaled" in cell
            else NOT_SCORED
            for cell in cells
        ]
        lines.append(TextLine(column.label, tuple(texts)))
    return TextTable(tuple(lines), _heads(*(model_name(model) for model in models)))


def differences_as_text(found: Sequence[Disagreement]) -> TextTable:
    """Return how zero-shot and fine-tuned model answer differently, a line per data set."""
    lines = [
        TextLine(
            "ID" if not one.group and place == 0 else one.data.rsplit("/", 1)[-1],
            (
                _share(one.diversity),
                _number(one.kappa_complement),
                _number(one.divergence),
                _share(one.follows_zero_shot),
                _share(one.follows_fine_tuned),
                _share(one.corrected),
                _share(one.broken),
            ),
        )
        for place, one in enumerate(found)
    ]
    names = ("one right", "1 − kappa", "KL", "follows zero-shot", "follows fine-tuned", "corrected", "broken")
    return TextTable(tuple(lines), _heads(*names))


def _heads(*labels: str) -> tuple[Head, ...]:
    return tuple(Head(label, False, False) for label in labels)


def _share(value: float | None) -> str:
    return NOT_SCORED if value is None else percent(value)


def _gap(value: float | None) -> str:
    return NOT_SCORED if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return NOT_SCORED if value is None else f"{value:.2f}"
