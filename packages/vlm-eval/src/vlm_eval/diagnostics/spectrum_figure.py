"""The figure of `vlm diagnose`: how the smallest singular values of several models compare."""

import os
from collections.abc import Iterable
from pathlib import Path

from vlm_data.files import write_bytes
from vlm_eval.comparing.paired import group_runs
from vlm_eval.diagnostics.runs import Diagnosed
from vlm_eval.plots.image import png_bytes, svg_bytes
from vlm_eval.plots.spectrum import draw_tails
from vlm_eval.plots.style import house_style, legend_below, new_figure
from vlm_eval.summary import ZERO_SHOT
from vlm_models.spec import parse_spec

_NAME = "spectrum"


def write_spectrum_figure(found: Iterable[Diagnosed], out: str | os.PathLike[str]) -> list[Path]:
    """Write the tails of several models into a folder, as PNG and SVG; runs that differ in their seed share a colour.

    Returns:
        Paths of what was written.
    """
    tails = _tails(list(found))
    written = []
    with house_style():
        figure = new_figure(5.2, 4.2)
        axes = figure.add_subplot()
        draw_tails(axes, tails)
        legend_below(axes, 3 if max(map(len, tails)) < 20 else 1)
        for kind, content in (("png", png_bytes), ("svg", svg_bytes)):
            path = Path(out) / f"{_NAME}.{kind}"
            write_bytes(path, content(figure))
            written.append(path)
    return written


def _tails(found: list[Diagnosed]) -> dict[str, list[tuple[float, ...]]]:
    runs = [parts.source for one in found if (parts := parse_spec(one.spec)).family == "run"]
    groups = {f"run:{member.path}": group.name for group in group_runs(runs) for member in group.runs}
    tails: dict[str, list[tuple[float, ...]]] = {}
    for one in found:
        for model in one.models:
            name = ZERO_SHOT if model.model == ZERO_SHOT else groups.get(f"run:{parse_spec(one.spec).source}", one.spec)
            members = tails.setdefault(name, [])
            if model.feature_spectrum_tail not in members:
                members.append(model.feature_spectrum_tail)
    return tails
