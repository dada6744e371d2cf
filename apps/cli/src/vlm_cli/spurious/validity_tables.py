"""Whether runs have learnt what was planted, and whether it was found, as tables for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_eval.spurious.retrieval import Retrieval
    from vlm_eval.spurious.settings import JudgedSetting

_K = 10
"""Ranks that the table shows; others are in the JSON document."""


def show_judged(judged: "Sequence[JudgedSetting]", console: Console) -> None:
    """Print a table of settings and one of their runs."""
    rows = []
    for one in judged:
        held = [threshold for threshold, valid in one.validity.valid.items() if valid]
        rows.append([one.name, one.method, str(len(one.settings)), _points(one.validity.strength), _limits(held)])
    console.table(
        "settings: valid at a threshold if both gaps of all seeds exceed it",
        ["setting", "method", "seeds", "smallest gap", "valid at"],
        rows,
    )
    heads = [
        "run",
        "V",
        "class gains",
        "another loses",
        "accuracy",
        "worst group",
        "found",
        f"P@{_K}",
        "random",
        f"R@{_K}",
    ]
    console.table(
        "runs, test images, in %",
        heads,
        [row for one in judged for row in _runs(one)],
        "class gains: its accuracy with the feature minus without; another loses: the most any other class does by it\n"
        "found: class of the strongest cluster; P, R: of its first regions, those that hold the feature; of those that "
        "hold it, those among them",
    )


def _runs(one: "JudgedSetting") -> list[list[str]]:
    rows = []
    for setting, seed, found in zip(one.settings, one.validity.seeds, one.retrievals, strict=True):
        worst = seed.groups.worst
        gaps = [_points(seed.gaps.epsilon1), _points(seed.gaps.epsilon2)]
        scores = [_points(seed.groups.overall), _points(worst.accuracy if worst else None)]
        rows.append([seed.run, f"{setting.achieved:.3f}", *gaps, *scores, *_retrieved(found)])
    return rows


def _retrieved(found: "Retrieval | None") -> list[str]:
    if found is None:
        return ["not searched", "-", "-", "-"]
    values = found.precision.get(_K), found.random.get(_K), found.recall.get(_K)
    return [found.attribute or "nothing", *map(_points, values)]


def _limits(thresholds: Sequence[float]) -> str:
    return ", ".join(f"{100 * threshold:.0f}" for threshold in thresholds) + " points" if thresholds else "none"


def _points(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
