"""What a report says about a run that was to be better than the one before it."""

import dataclasses
from collections.abc import Sequence

from vlm_eval.comparing.changes import Change
from vlm_eval.metrics.subgroups import Subgroups
from vlm_eval.report.tables import NOT_SCORED, Head, TextCell, TextLine, TextTable
from vlm_eval.report.wording import change_sentence, percent, points
from vlm_eval.spurious.mitigation import Mitigation

_GROUPS_TOLD = 40


@dataclasses.dataclass(frozen=True)
class MitigationText:
    """Before and after as text.

    Attributes:
        sentences: what changed, the worst group first and overall accuracy beside it.
        accuracies: of images and regions, overall and in the worst group.
        groups: by group, the worst first.
    """

    sentences: Sequence[str]
    accuracies: TextTable
    groups: TextTable


def mitigation_as_text(found: Mitigation) -> MitigationText:
    """Return what a run changed against the one before it."""
    place = f"{found.data}, against {found.before}"
    sentences = [
        change_sentence(found.after, "accuracy of the worst group", place, found.worst_group),
        change_sentence(found.after, "overall accuracy", place, found.overall),
    ]
    return MitigationText(sentences, _accuracies(found), _groups(found))


def _accuracies(found: Mitigation) -> TextTable:
    lines = []
    for place, name in enumerate((found.before, found.after)):
        groups, regions = found.groups[place], found.regions[place] if found.regions else None
        cells = [share_cell(groups.overall), _worst(groups, found.class_names)]
        cells += [share_cell(regions and regions.overall), _worst(regions, found.class_names)]
        lines.append(TextLine(name, tuple(cells)))
    ends = [_ends(change) for change in (found.overall, found.worst_group)]
    lines.append(TextLine("difference, points", (*ends, *_region_differences(found))))
    return TextTable(tuple(lines), heads("images", "images, worst group", "regions", "regions, worst group"))


def _region_differences(found: Mitigation) -> tuple[TextCell, TextCell]:
    if found.regions is None:
        return TextCell(NOT_SCORED), TextCell(NOT_SCORED)
    before, after = found.regions
    overall = None if before.overall is None or after.overall is None else after.overall - before.overall
    worst = None if before.worst is None or after.worst is None else after.worst.accuracy - before.worst.accuracy
    return points_cell(overall), points_cell(worst)


def _groups(found: Mitigation) -> TextTable:
    before, after = found.groups
    cells = [
        (after.accuracy[label, column], f"{_class(found, label)}, {value}", label, column)
        for label in range(len(after.counts))
        for column, value in enumerate(after.values)
        if after.counts[label, column] and value in before.values
    ]
    lines = []
    for share, name, label, column in sorted(cells)[:_GROUPS_TOLD]:
        first = float(before.accuracy[label, before.values.index(after.values[column])])
        number = TextCell(str(after.counts[label, column]))
        lines.append(
            TextLine(name, (number, share_cell(first), share_cell(float(share)), points_cell(float(share) - first)))
        )
    return TextTable(tuple(lines), heads("images", f"{found.before}, %", f"{found.after}, %", "change, points"))


def _class(found: Mitigation, label: int) -> str:
    return found.class_names[label] if label < len(found.class_names) else str(label)


def _worst(groups: Subgroups | None, class_names: Sequence[str]) -> TextCell:
    worst = groups.worst if groups else None
    if worst is None:
        return TextCell(NOT_SCORED)
    name = class_names[worst.label] if worst.label < len(class_names) else str(worst.label)
    return TextCell(percent(worst.accuracy), f"{name}, {worst.value} ({worst.n})")


def _ends(change: Change) -> TextCell:
    return TextCell(points(change.difference), f"{points(change.low)} to {points(change.high)}")


def share_cell(value: float | None) -> TextCell:
    """Return a fraction in per cent, a dash where it is undefined."""
    return TextCell(NOT_SCORED if value is None else percent(value))


def points_cell(value: float | None) -> TextCell:
    """Return a difference of fractions in points, a dash where it is undefined."""
    return TextCell(NOT_SCORED if value is None else points(value))


def heads(*labels: str) -> tuple[Head, ...]:
    """Return headings of one group of columns."""
    return tuple(Head(label, False, False) for label in labels)
