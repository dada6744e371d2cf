"""Numbers and verdicts in words: the only place where fractions become per cent."""

from collections.abc import Mapping, Sequence

from vlm_eval.comparing.changes import Change, GroupBootstrap, Metric, change
from vlm_eval.score_table import GROUP_NAMES, ID, Line, Score, ScoreTable
from vlm_eval.summary import FINE_TUNED, INTERPOLATED, ZERO_SHOT
from vlm_eval.training_curve import Collapse

Resampled = Mapping[tuple[str, str], GroupBootstrap]
"""Resampled scores by model and group, see `vlm_eval.report.findings.Findings.resampled`."""


def percent(fraction: float) -> str:
    """Return a fraction as per cent with one digit after the point.

    Example:
        >>> percent(0.9286)
        '92.9'
    """
    return f"{100 * fraction:.1f}".replace("-", "−")


def points(difference: float) -> str:
    """Return a difference of fractions in percentage points, always with its sign.

    Example:
        >>> points(-0.026), points(0.1)
        ('−2.6', '+10.0')
    """
    return f"{100 * difference:+.1f}".replace("-", "−")


def interval(score: Score) -> str:
    """Return the ends of an interval in per cent, or nothing where there is none.

    Example:
        >>> interval(Score(0.9, 0.85, 0.94))
        '85.0–94.0'
    """
    return "" if score.low is None or score.high is None else f"{percent(score.low)}–{percent(score.high)}"


def verdict(
    summary: ScoreTable, resampled: Resampled, alpha: float, chosen_on_validation: bool = False
) -> dict[str, list[str]]:
    """Return sentences with numbers by heading: what fine-tuning did, and what interpolation gives back.

    "raised" and "lowered" are said only if the interval of the paired difference does not contain 0.

    Args:
        summary: see `vlm_eval.summary.summary_table`.
        resampled: of the models in it.
        alpha: of the interpolated model.
        chosen_on_validation: whether alpha was chosen on ID validation, or fixed before.
    """
    groups = [ID, *summary.groups]
    found = {
        "Accuracy": _sentences(summary, resampled, groups, "accuracy"),
        "Calibration (ECE, lower is better)": _sentences(summary, resampled, groups, "ece"),
    }
    if (INTERPOLATED, ID) in resampled and (FINE_TUNED, ID) in resampled and 0 < alpha < 1:
        how = "chosen on ID validation" if chosen_on_validation else "fixed in advance, not tuned"
        found[f"Interpolation, alpha = {alpha:g} ({how})"] = [
            _recovery(summary, resampled, group) for group in groups if (INTERPOLATED, group) in resampled
        ]
    return {heading: sentences for heading, sentences in found.items() if sentences}


def headline(summary: ScoreTable) -> str:
    """Return one sentence: accuracy of the fine-tuned and the interpolated model against zero-shot, in points."""
    lines = {line.model: line for line in summary.lines}
    clauses = []
    for name in (FINE_TUNED, INTERPOLATED):
        if name in lines and ZERO_SHOT in lines:
            differences = _differences(summary, lines[ZERO_SHOT], lines[name])
            clauses += [f"{name} {', '.join(differences)}"] if differences else []
    return f"Accuracy against zero-shot, in points: {'; '.join(clauses)}." if clauses else ""


def _differences(summary: ScoreTable, before: Line, after: Line) -> list[str]:
    found = []
    for group in (ID, *summary.groups):
        start, end = summary.mean(before, group), summary.mean(after, group)
        if start and end:
            place = "ID" if group == ID else GROUP_NAMES.get(group, group)
            found.append(f"{points(end['accuracy'].value - start['accuracy'].value)} on {place}")
    return found


def collapse_warning(collapses: Sequence[Collapse]) -> str:
    """Return what the log says about shifts that fell apart during training; nothing if none did.

    Example:
        >>> collapse_warning([Collapse(3.0, "digits/invert", 0.5, 0.2)])
        'During training accuracy collapsed on digits/invert (50.0\u00a0% before training, 20.0\u00a0% after epoch 3).'
    """
    parts = []
    for one in collapses:
        known = one.zero_shot is not None and one.accuracy is not None
        parts.append(
            f"{one.data} ({percent(one.zero_shot or 0)}\u00a0% before training, {percent(one.accuracy or 0)}\u00a0% "
            f"after epoch {one.epoch:g})"
            if known
            else f"{one.data} (epoch {one.epoch:g})"
        )
    return f"During training accuracy collapsed on {'; '.join(parts)}." if parts else ""


def change_sentence(subject: str, name: str, place: str, found: Change) -> str:
    """Return what something did to a number, with both values and the interval of the difference.

    Args:
        subject: what did it.
        name: of the number.
        place: where it was measured.
        found: the paired difference.

    Example:
        >>> change_sentence("Fine-tuning", "PT", "ID", Change(0.5, 0.25, -0.375, -0.125)).replace("\u00a0", " ")
        'Fine-tuning lowered PT on ID: 50.0 % → 25.0 % (−25.0 points [−37.5 to −12.5]).'
    """
    verb = {"higher": "raised", "lower": "lowered", "unclear": "did not clearly change"}[found.direction]
    return (
        f"{subject} {verb} {name} on {place}: {percent(found.before)}\u00a0% → {percent(found.after)}\u00a0% "
        f"({_difference(found)})."
    )


def _sentences(summary: ScoreTable, resampled: Resampled, groups: Sequence[str], metric: Metric) -> list[str]:
    found = []
    for group in groups:
        before, after = resampled.get((ZERO_SHOT, group)), resampled.get((FINE_TUNED, group))
        if before and after:
            name = {"accuracy": "accuracy", "ece": "ECE"}[metric]
            found.append(change_sentence("Fine-tuning", name, _place(summary, group), change(before, after, metric)))
    if metric == "accuracy" and "corruption" in groups:
        found.append("Corruptions are applied to the ID test images, so they follow ID accuracy: a group of their own.")
    return found


def _recovery(summary: ScoreTable, resampled: Resampled, group: str) -> str:
    now, tuned = resampled[INTERPOLATED, group], resampled[FINE_TUNED, group]
    accuracy, ece = change(tuned, now, "accuracy"), change(tuned, now, "ece")
    return (
        f"On {_place(summary, group)}: accuracy {percent(accuracy.after)}\u00a0% ({_difference(accuracy)} against "
        f"fine-tuned), ECE {percent(ece.after)}\u00a0% ({_difference(ece)})."
    )


def _difference(found: Change) -> str:
    return f"{points(found.difference)} points [{points(found.low)} to {points(found.high)}]"


def _place(summary: ScoreTable, group: str) -> str:
    members = summary.members(group)
    if group == ID:
        return "the ID test set" if len(members) == 1 else f"the {len(members)} ID test sets"
    count = f"mean of {len(members)}" if len(members) > 1 else "".join(column.label for column in members)
    return f"{GROUP_NAMES.get(group, group)} ({count})"
