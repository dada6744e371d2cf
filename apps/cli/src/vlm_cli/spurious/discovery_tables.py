"""What a search found, as tables for people."""

from typing import TYPE_CHECKING, Any

from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_cli.spurious.discovering import Found

_SHOWN = 5
"""Clusters whose gaps are shown; all are in discovery.json."""


def show_found(found: "Found", console: Console) -> None:
    """Print the clusters that were found with the gaps of the first, or why there is none, and what was written."""
    told = found.discovery.document()
    ranked = [cluster for cluster in told["clusters"] if cluster["rank"] is not None]
    where = f"{told['regions']} regions of {told['images']} images in {len(told['clusters'])} clusters"
    if not told["found"]:
        console.text(f"nothing found among {where}: {told['reason']}")
    else:
        _show_clusters(ranked, f"found {len(ranked)} of {len(told['clusters'])} clusters; {where}", console)
        _show_gaps(ranked[0], console)
    console.text("\n".join([*(f"note: {note}" for note in told["notes"]), *_written(found)]))


def _show_clusters(ranked: list[dict[str, Any]], title: str, console: Console) -> None:
    heads = ["cluster", "regions", "images", "gap score", "influence", "p", "taken for", "with cluster"]
    rows = [
        [
            str(one["id"]),
            str(one["size"]),
            str(one["images"]),
            f"{one['gap_score']:.2f}",
            _number(one["influence"], 2),
            _number(one["p_value"], 3),
            (one["class"] or "-") + (" where it is absent" if one["is_absence"] else ""),
            ", ".join(map(str, one["same"])) or "-",
        ]
        for one in ranked[:_SHOWN]
    ]
    more = f"{len(ranked) - _SHOWN} more in discovery.json" if len(ranked) > _SHOWN else ""
    console.table(title, heads, rows, more)


def _show_gaps(top: dict[str, Any], console: Console) -> None:
    """Print for every class how right the model is with the cluster and without."""
    heads = ["class", "with", "accuracy", "without", "accuracy", "weighted gap", "95 %"]
    rows = []
    for gap in top["gaps"]:
        rows.append(
            [
                gap["class"],
                str(gap["n_with"]),
                _points(gap["accuracy_with"]),
                str(gap["n_without"]),
                _points(gap["accuracy_without"]),
                _points(gap["gap"]),
                "-" if gap["low"] is None else f"{_points(gap['low'])} to {_points(gap['high'])}",
            ]
        )
    console.table(f"cluster {top['id']}: accuracy in % on images with it and without", heads, rows)


def _written(found: "Found") -> list[str]:
    lines = [f"discovery  {found.folder}"]
    lines += [f"pictures   {found.sheets[0].parent}"] if found.sheets else []
    if found.train_regions:
        lines += [f"training   {found.train_regions}"]
        if found.discovery.top is not None and not found.discovery.top.is_absence:  # a note says why not
            lines += [f"to repair  vlm finetune --method region-aware --regions {found.train_regions}"]
    return lines


def _points(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:z.1f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
