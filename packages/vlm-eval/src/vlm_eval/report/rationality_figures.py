"""The pictures of a report about the reasons of answers."""

from functools import partial

from vlm_eval.metrics.rationality import Share
from vlm_eval.plots.panel import Panel, draw_axes
from vlm_eval.plots.rationality import SHARE_NAMES, draw_over_severities, draw_shares, draw_threshold_curves
from vlm_eval.rationality.of_models import RationalityOfModels

_TOLD: tuple[Share, ...] = ("pt", "ir")


def rationality_panels(found: RationalityOfModels) -> list[Panel]:
    """Return the pictures of some models: side by side, against the threshold, over severities where there are some.

    Args:
        found: rationales of the models.
    """
    place = found.main
    shares = {model: scores[place].shares for model, scores in found.scores.items()}
    draw = partial(draw_shares, models=shares, title=place)
    description = f"PT, IR, valid evidence and accuracy of each model on {place}, with intervals"
    drawn = [Panel("rationality-shares", description, partial(draw_axes, draw))]
    for share in _TOLD if found.curves else ():
        description = f"{SHARE_NAMES[share]} on {place} against the threshold from which evidence is valid"
        draw = partial(draw_threshold_curves, curves=found.curves, share=share, chosen=found.rule[1])
        drawn.append(Panel(f"rationality-threshold-{share}", description, partial(draw_axes, draw)))
    for share in _TOLD:
        severities = found.severities(share)
        if severities:
            title = f"{SHARE_NAMES[share]} over severities, mean of corruptions"
            draw = partial(draw_over_severities, models=severities, share=share, title=title)
            drawn.append(Panel(f"rationality-severity-{share}", title, partial(draw_axes, draw)))
    return drawn
