"""What a run's log says about its training, on one axis of epochs through all phases."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Points:
    """One line of a plot.

    Attributes:
        epochs: ascending; epochs of earlier phases are counted too.
        values: as many.
    """

    epochs: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Collapse:
    """A shift whose accuracy fell apart during training.

    Attributes:
        epoch: when it was noticed.
        data: the shift.
        zero_shot, accuracy: before training and when it was noticed; fractions, None if the log does not say.
    """

    epoch: float
    data: str
    zero_shot: float | None = None
    accuracy: float | None = None


@dataclasses.dataclass(frozen=True)
class TrainingCurve:
    """All lines of the training figure.

    Attributes:
        loss, lr: per optimiser step; a loss that is not finite ends the line.
        validation: ID validation accuracy per epoch.
        shifts: accuracy per epoch by tracked shift, on a sample of its images.
        best_epochs: the kept epoch of each phase.
        phase_starts: where later phases start.
        collapses: in order.
        diverged: epoch at which the loss was not finite, or None.
    """

    loss: Points
    lr: Points
    validation: Points
    shifts: Mapping[str, Points]
    best_epochs: tuple[float, ...]
    phase_starts: tuple[float, ...]
    collapses: tuple[Collapse, ...]
    diverged: float | None


def training_curve(events: Iterable[Mapping[str, Any]]) -> TrainingCurve | None:
    """Return the curve of a log, or None if it holds neither a step nor an epoch.

    Args:
        events: as `vlm_finetune.run_log.read_log` returns them.

    Example:
        >>> step = {"event": "step", "phase": 0, "step": 1, "epoch": 0.5, "loss": 2.0, "lr": 0.1}
        >>> training_curve([step, {**step, "phase": 1}]).loss
        Points(epochs=(0.5, 1.0), values=(2.0, 2.0))
        >>> training_curve([{"event": "start"}]) is None
        True
    """
    found = list(events)
    offsets = _phase_offsets(found)
    placed = _placed(found, offsets)
    steps = [(x, event) for x, event in placed if event["event"] == "step"]
    epochs = [(x, event) for x, event in placed if event["event"] == "epoch"]
    if not steps and not epochs:
        return None
    tracked = [(x, event) for x, event in placed if event["event"] in ("start", "epoch") and event.get("shifts")]
    names = dict.fromkeys(name for _, event in tracked for name in event["shifts"])
    return TrainingCurve(
        loss=_points((x, event["loss"]) for x, event in steps if math.isfinite(event["loss"])),
        lr=_points((x, event["lr"]) for x, event in steps),
        validation=_points((x, event["val_accuracy"]) for x, event in epochs),
        shifts={
            name: _points((x, event["shifts"][name]) for x, event in tracked if name in event["shifts"])
            for name in names
        },
        best_epochs=tuple({event.get("phase", 0): x for x, event in epochs if event.get("best")}.values()),
        phase_starts=tuple(offsets.values())[1:],
        collapses=tuple(
            Collapse(x, event.get("data", ""), event.get("zero_shot"), event.get("accuracy"))
            for x, event in placed
            if event["event"] == "collapse"
        ),
        diverged=next((x for x, event in steps if not math.isfinite(event["loss"])), None),
    )


def _points(pairs: Iterable[tuple[float, float]]) -> Points:
    kept = sorted(pairs)
    return Points(tuple(x for x, _ in kept), tuple(value for _, value in kept))


def _phase_offsets(events: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Epochs that were over when each phase began."""
    lengths: dict[int, float] = {}
    for event in events:
        phase = event.get("phase", 0)
        lengths[phase] = max(lengths.get(phase, 0.0), event.get("epoch", 0.0))
    phases = sorted(lengths)
    return {phase: sum(lengths[earlier] for earlier in phases[:place]) for place, phase in enumerate(phases)}


def _placed(events: Iterable[Mapping[str, Any]], offsets: Mapping[int, float]) -> list[tuple[float, Mapping[str, Any]]]:
    """Give every event its place on the axis; an event that tells no epoch happened right after the one before it."""
    placed, last = [], 0.0
    for event in events:
        if "epoch" in event or event["event"] == "start":
            last = offsets[event.get("phase", 0)] + event.get("epoch", 0.0)
        placed.append((last, event))
    return placed
