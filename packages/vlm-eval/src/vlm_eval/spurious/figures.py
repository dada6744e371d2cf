"""Pictures over many settings: Precision@K by learnt strength, worst group against overall accuracy by method."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from vlm_data.files import write_bytes
from vlm_eval.plots.panel import Panel, draw_axes, figure_bytes
from vlm_eval.plots.spurious import draw_precision, draw_worst_against_overall
from vlm_eval.score_table import Score
from vlm_eval.spurious.summaries import DiscoverySummary, MethodSummary

_PARTS = {"image": "images", "region": "regions"}


def write_discovery_figure(
    folder: str | os.PathLike[str], summaries: Mapping[str, Sequence[DiscoverySummary]]
) -> list[Path]:
    """Draw mean Precision@K against the threshold from which settings count as valid: `precision`, PNG and SVG.

    Args:
        folder: created if it is not there.
        summaries: of `discovery_summaries`, by name of the way of discovery; without settings nothing is drawn.

    Returns:
        Paths of what was written.

    Raises:
        VlmError: if a file cannot be written.
    """
    series: dict[str, list[tuple[float, Score]]] = {}
    for name, found in summaries.items():
        points = [(100 * (one.threshold or 0), one.precision) for one in found if one.precision]
        series |= {name: [(at, score) for at, score in points if score]} if points else {}
    if not series:
        return []
    random = next((one.random for found in summaries.values() for one in found if one.random is not None), None)
    draw = partial(
        draw_precision,
        series=series,
        random=random,
        label="settings whose gaps exceed, points (0: all)",
        title="regions that hold the planted feature",
    )
    description = "Mean Precision@10 of discovery against the learnt strength of the correlation"
    return _write(Path(folder), "precision", [Panel("precision", description, partial(draw_axes, draw))])


def write_mitigation_figure(folder: str | os.PathLike[str], summaries: Sequence[MethodSummary]) -> list[Path]:
    """Draw worst-group against overall accuracy of every method, images and regions: `mitigation`, PNG and SVG.

    Args:
        folder: created if it is not there.
        summaries: of `method_summaries`, the reference first.

    Returns:
        Paths of what was written; empty where no method has both accuracies.

    Raises:
        VlmError: if a file cannot be written.
    """
    drawn = []
    for part, name in _PARTS.items():
        keys = f"{part}_overall", f"{part}_worst_group"
        methods = {
            one.method: (one.means[keys[0]], one.means[keys[1]])
            for one in summaries
            if all(key in one.means for key in keys)
        }
        if methods:
            draw = partial(draw_worst_against_overall, methods=methods, title=name)
            description = f"Worst-group against overall accuracy of {name}, by method"
            drawn.append(Panel(f"mitigation-{part}", description, partial(draw_axes, draw), 4.5, 4.6))
    return _write(Path(folder), "mitigation", drawn) if drawn else []


def _write(folder: Path, name: str, drawn: Sequence[Panel]) -> list[Path]:
    written = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in written:
        write_bytes(path, figure_bytes(drawn, path.suffix.removeprefix(".")))
    return written
