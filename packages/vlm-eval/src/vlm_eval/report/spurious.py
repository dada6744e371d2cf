"""What a report says about shortcuts: clusters that were discovered, whether a planted one was, what mitigation did."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm_data.errors import VlmDataError
from vlm_eval.report.mitigation import MitigationText, heads, mitigation_as_text, points_cell, share_cell
from vlm_eval.report.pictures import png_source
from vlm_eval.report.tables import NOT_SCORED, TextCell, TextLine, TextTable
from vlm_eval.report.wording import percent, points
from vlm_eval.spurious.discovery_file import VALIDITY, ClassGap, DiscoveryFile, FoundCluster
from vlm_eval.spurious.mitigation import Mitigation

_CLUSTERS_TOLD, _CLASSES_TOLD = 5, 20
_FAILED = {
    "strategy": "the filter of the strategy",
    "class-tie": "not being a class itself",
    "minimum-gap": "the least gap",
    "significance": "the test",
}


@dataclasses.dataclass(frozen=True)
class ClusterText:
    """One discovered cluster: what it does, its gaps, and where its regions lie."""

    heading: str
    facts: str
    gaps: TextTable
    more: str
    picture: str


@dataclasses.dataclass(frozen=True)
class SpuriousText:
    """The section as text.

    Attributes:
        outcome: whether anything was found, in one or two sentences.
        notes: what else a reader should know.
        how: settings of the discovery.
        clusters: the strongest findings.
        others: what became of the other clusters.
        planted: sentences about a planted feature: was it learnt, was it found; empty where none was planted.
        validity: a line per seed.
        mitigation: this run beside the one before it; None without one.
    """

    outcome: str
    notes: Sequence[str]
    how: str
    clusters: Sequence[ClusterText]
    others: str
    planted: Sequence[str]
    validity: TextTable
    mitigation: MitigationText | None


def spurious_as_text(
    folder: Path, discovery: DiscoveryFile | None, mitigation: Mitigation | None
) -> SpuriousText | None:
    """Return the section of a run; None where there is nothing to tell.

    Args:
        folder: `spurious/` of the run, whether it is there or not.
        discovery: of that folder.
        mitigation: this run beside the one before it.

    Raises:
        VlmDataError: if a file in the folder is damaged.
    """
    planted, validity = judged_as_text(folder)
    if discovery is None and not planted and mitigation is None:
        return None
    return SpuriousText(
        outcome=_outcome(discovery) if discovery else "",
        notes=discovery.notes if discovery else (),
        how=_how(discovery) if discovery else "",
        clusters=[_cluster(discovery, one) for one in discovery.ranked[:_CLUSTERS_TOLD]] if discovery else [],
        others=_others(discovery) if discovery else "",
        planted=planted,
        validity=validity,
        mitigation=mitigation_as_text(mitigation) if mitigation else None,
    )


def judged_as_text(folder: Path) -> tuple[Sequence[str], TextTable]:
    """Return what the judgement of a setting says, as sentences and with a line per seed; nothing if there is none.

    Args:
        folder: that a discovery was written to.

    Raises:
        VlmDataError: if the file is damaged.
    """
    path = folder / VALIDITY
    if not path.is_file():
        return [], TextTable(())
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return [*_learnt(told), *_retrieved(told.get("retrieval"))], _validity(told)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise VlmDataError(
            f"cannot read {path}: {what}. Expected the file that `vlm spurious validate` writes; give that command "
            "again, or remove the file to get a report without it."
        ) from error


def _outcome(found: DiscoveryFile) -> str:
    seen = f"{len(found.clusters)} clusters of {found.regions:,} regions in {found.images:,} images"
    if found.top is None:
        return f"Nothing found in {seen}: {found.reason.rstrip('.') or 'no cluster passed'}."
    number = len(found.ranked)
    return f"{number} of {seen} {'goes' if number == 1 else 'go'} with errors; the strongest: {_tie(found.top)}."


def _how(found: DiscoveryFile) -> str:
    told = {key: value for key, value in found.options.items() if value not in (None, "", [])}
    return ", ".join(f"{key.replace('_', ' ')} {str(value).lower()}" for key, value in told.items())


def _tie(one: FoundCluster) -> str:
    what = f"the absence of cluster {one.id}" if one.is_absence else f"cluster {one.id}"
    return f"{what} is tied to “{one.attribute}”" if one.attribute else what


def _cluster(found: DiscoveryFile, one: FoundCluster) -> ClusterText:
    facts = [f"{one.size:,} regions in {one.images:,} images", f"gap score {one.gap_score:.2f}"]
    facts += [f"influence {one.influence:.2f}"] if one.influence is not None else []
    facts += [_p_value(one.p_value)] if one.p_value is not None else []
    for way in ("helps", "hurts"):
        names = [name for name, told in one.direction.items() if told == way]
        facts += [f"{way} {', '.join(names[:6])}{f' and {len(names) - 6} more' * (len(names) > 6)}"] if names else []
    facts += [f"where it is absent, cluster {one.complement} is there"] if one.complement is not None else []
    facts += [f"in the same images: cluster {', '.join(map(str, one.same))}"] if one.same else []
    gaps = sorted(one.gaps, key=lambda gap: -abs(gap.gap or 0))
    more = f"{len(gaps) - _CLASSES_TOLD} classes with smaller gaps are left out." if len(gaps) > _CLASSES_TOLD else ""
    sheet = found.sheet(one)
    return ClusterText(
        heading=f"{one.rank}. {_tie(one)[:1].upper()}{_tie(one)[1:]}",
        facts=f"{'; '.join(facts)}.",
        gaps=TextTable(
            tuple(TextLine(gap.name, _gap_cells(gap)) for gap in gaps[:_CLASSES_TOLD]),
            heads(
                "images with", "images without", "accuracy with, %", "without, %", "difference, points", "weighted gap"
            ),
        ),
        more=more,
        picture=png_source(sheet, "vlm spurious discover") if sheet else "",
    )


def _gap_cells(gap: ClassGap) -> tuple[TextCell, ...]:
    sides = gap.accuracy_with, gap.accuracy_without
    difference = None if None in sides else (sides[0] or 0) - (sides[1] or 0)
    ends = "" if gap.low is None or gap.high is None else f"{_signed(gap.low)} to {_signed(gap.high)}"
    return (
        TextCell(str(gap.n_with)),
        TextCell(str(gap.n_without)),
        *[share_cell(side) for side in sides],
        TextCell(NOT_SCORED if difference is None else points(difference)),
        TextCell(NOT_SCORED if gap.gap is None else _signed(gap.gap), ends),
    )


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _others(found: DiscoveryFile) -> str:
    left = len(found.ranked) - _CLUSTERS_TOLD
    parts = [f"{left} weaker findings are in discovery.json"] if left > 0 else []
    failed = [one for one in found.clusters if one.rank is None]
    reasons: dict[str, int] = {}
    for one in failed:
        for name in one.failed[:1]:
            reasons[name] = reasons.get(name, 0) + 1
    told = ", ".join(f"{_FAILED.get(name, name)} ({number})" for name, number in reasons.items())
    number = f"{len(failed)} cluster{'s' * (len(failed) > 1)}"
    parts += [f"{number} did not pass" + (f"; stopped by: {told}" if told else "")] if failed else []
    return f"{'; '.join(parts)}." if parts else ""


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _learnt(judged: Mapping[str, Any]) -> list[str]:
    if not judged.get("valid"):
        return []
    passed = [f"{100 * one['threshold']:g}" for one in judged["valid"] if one["valid"]]
    seeds, planted = len(judged["seeds"]), f"The feature was planted on “{judged['spurious_class']}”"
    if passed:
        models = "the model" if seeds == 1 else f"all {seeds} seeds"
        return [f"{planted}, and {models} learnt it: both gaps exceed {passed[-1]} points."]
    models = "the model did not learn" if seeds == 1 else "not every seed learnt"
    return [
        f"{planted}, but {models} it: the gaps do not both exceed {100 * judged['valid'][0]['threshold']:g} points."
    ]


def _retrieved(told: Mapping[str, Any] | None) -> list[str]:
    if not told:
        return []
    if not told["found"]:
        return ["Discovery found nothing, so its Precision@K is 0."]
    parts = [
        f"{percent(value)}\u00a0% of the first {k} (in random order {percent(told['random'][k])}\u00a0%)"
        for k, value in told["precision"].items()
    ]
    found = [f"Regions nearest to the middle of the top cluster hold the planted feature: {', '.join(parts)}."]
    if told.get("class_found") is not None:
        found.append(f"The class it is tied to is {'' if told['class_found'] else 'not '}the planted one.")
    return found


def _validity(judged: Mapping[str, Any]) -> TextTable:
    lines = [
        TextLine(
            Path(one["run"]).name,
            (
                share_cell(one["overall"]),
                share_cell(one["worst_group"]["accuracy"] if one["worst_group"] else None),
                TextCell(_group_name(one["worst_group"])),
                points_cell(one["epsilon1"]),
                points_cell(one["epsilon2"]),
                TextCell(one["epsilon2_class"] or NOT_SCORED),
            ),
        )
        for one in judged.get("seeds", ())
    ]
    names = ("accuracy, %", "worst group, %", "which", "epsilon 1, points", "epsilon 2, points", "its class")
    return TextTable(tuple(lines), heads(*names))


def _group_name(told: Mapping[str, Any] | None) -> str:
    return f"{told['class']}, {told['value']} ({told['n']})" if told else NOT_SCORED
