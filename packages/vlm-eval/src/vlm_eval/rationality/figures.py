"""The pictures and the table of `vlm rationale --figures`: PT and IR of models, as PNG, SVG and CSV."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes

from vlm_data.files import write_bytes, write_text
from vlm_eval.metrics.rationality import Share
from vlm_eval.plots.image import png_bytes, svg_bytes
from vlm_eval.plots.rationality import (
    SHARE_NAMES,
    draw_against_accuracy,
    draw_over_severities,
    draw_shares,
    draw_threshold_curves,
)
from vlm_eval.plots.style import house_style, new_figure
from vlm_eval.rationality.documents import records_csv, scores_document
from vlm_eval.rationality.of_models import RationalityOfModels

_PANEL = (4.0, 3.4)  # inches
_DRAWN: tuple[Share, ...] = ("pt", "ir")
Draw = Callable[[Axes], None]


def write_rationality_figures(folder: str | os.PathLike[str], found: RationalityOfModels) -> list[Path]:
    """Draw PT and IR of some models on their main data set, and write the numbers of all data sets.

    `shares` (with intervals), `thresholds` (against the threshold of the rule), `against-accuracy` where there are
    several models, `severities` where there are corruptions, each as PNG and SVG; `rationality.csv`.

    Args:
        folder: created if it is not there.
        found: models by name.

    Returns:
        Paths of what was written.

    Raises:
        VlmError: if a file cannot be written.
    """
    written = []
    with house_style():
        for name, panels in _figures(found).items():
            if not panels:
                continue
            figure = new_figure(_PANEL[0] * len(panels), _PANEL[1])
            for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
                draw(axes)
            for again in figure.legends[1:]:  # every panel has drawn the same one
                again.remove()
            for kind, data in (("png", png_bytes(figure)), ("svg", svg_bytes(figure))):
                written.append(Path(folder) / f"{name}.{kind}")
                write_bytes(written[-1], data)
    table = Path(folder) / "rationality.csv"
    scores = [scores_document(one) | {"model": name} for name, sets in found.scores.items() for one in sets.values()]
    write_text(table, records_csv(scores))
    return [*written, table]


def _figures(found: RationalityOfModels) -> dict[str, list[Draw]]:
    shares = {model: scores[found.main].shares for model, scores in found.scores.items()}
    severities: dict[Share, dict[str, dict[int, float]]] = {share: found.severities(share) for share in _DRAWN}
    accuracy = [
        partial(draw_against_accuracy, models=shares, share=share, title=f"{SHARE_NAMES[share]}, {found.main}")
        for share in _DRAWN
    ]
    return {
        "shares": [partial(draw_shares, models=shares, title=found.main)],
        "thresholds": [
            partial(draw_threshold_curves, curves=found.curves, share=share, chosen=found.rule[1])
            for share in _DRAWN
            if found.curves
        ],
        "against-accuracy": accuracy if len(shares) > 1 else [],
        "severities": [
            partial(draw_over_severities, models=values, share=share, title="mean of corruptions")
            for share, values in severities.items()
            if values
        ],
    }
