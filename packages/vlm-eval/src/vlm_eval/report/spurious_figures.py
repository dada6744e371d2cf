"""The pictures of a report about shortcuts."""

from functools import partial

from vlm_eval.plots.panel import Panel, draw_axes
from vlm_eval.plots.spurious import Pair, draw_pairs
from vlm_eval.spurious.discovery_file import DiscoveryFile
from vlm_eval.spurious.mitigation import Mitigation

_ROWS = 20


def spurious_panels(discovery: DiscoveryFile | None, mitigation: Mitigation | None) -> list[Panel]:
    """Return accuracy with and without the strongest finding, and groups before and after mitigation.

    Args:
        discovery: of the run.
        mitigation: the run beside the one before it.
    """
    drawn = []
    if discovery and discovery.top:
        top = discovery.top
        gaps = sorted(top.gaps, key=lambda gap: -abs(gap.gap or 0))[:_ROWS]
        pairs: dict[str, Pair] = {gap.name: (gap.accuracy_without, gap.accuracy_with) for gap in gaps}
        names = f"images without cluster {top.id}", "with it"
        drawn.append(_panel("spurious-gaps", pairs, names, f"cluster {top.id}: accuracy by class"))
    if mitigation:
        before, after = mitigation.groups
        pairs = {}
        for label, name in enumerate(mitigation.class_names[: len(after.counts)]):
            for column, value in enumerate(after.values):
                if after.counts[label, column] and value in before.values:
                    first = float(before.accuracy[label, before.values.index(value)])
                    pairs[f"{name}, {value}"] = (first, float(after.accuracy[label, column]))
        pairs = dict(
            sorted(pairs.items(), key=lambda pair: min(value for value in pair[1] if value is not None))[:_ROWS]
        )
        names = mitigation.before, mitigation.after
        drawn.append(_panel("spurious-groups", pairs, names, "groups before and after"))
    return drawn


def _panel(name: str, pairs: dict[str, Pair], names: tuple[str, str], title: str) -> Panel:
    draw = partial(draw_pairs, pairs=pairs, names=names, title=title)
    description = f"{title}: {names[0]} and {names[1]}"
    return Panel(name, description, partial(draw_axes, draw), 4.5, 1.5 + 0.26 * len(pairs))
