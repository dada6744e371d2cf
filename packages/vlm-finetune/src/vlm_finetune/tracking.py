"""Experiment trackers: what the log of a run says, sent to TensorBoard, Weights & Biases, MLflow or trackio, too.

The trackers are those of Accelerate. They are told what has been written into the log, so a run with them and a run
without are the same run.
"""

import importlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from vlm_data.errors import CallError, unknown_name
from vlm_finetune.devices import process_state
from vlm_finetune.recipe import Recipe
from vlm_finetune.run import LOG
from vlm_finetune.run_log import read_log

FOLDER = "tracking"
"""Where trackers that write files write them, inside the run."""
PROJECT = "vlm"
"""Project or experiment that runs are sorted into, where a tracker has such."""
EXTRAS = ("tensorboard", "wandb", "mlflow", "trackio")
"""Trackers that are extras of this package: `pip install 'vlm-finetune[NAME]'`."""
_KINDS = {"step": "train", "epoch": "val"}
_PLACE = ("event", "phase", "step", "epoch", "data")


class Tracking:
    """The open trackers of one run.

    Optimiser steps of later phases go on counting where the earlier ones ended. A run that goes on after an
    interruption tells the steps since its resume point once more.

    Attributes:
        trackers: which ones.
        step: last optimiser step that was told, over all phases.
    """

    def __init__(self, run: Path, trackers: Sequence[GeneralTracker] = ()) -> None:
        self.trackers = list(trackers)
        self.step = 0
        self._ends: dict[int, int] = {}
        self._tell_phases(read_log(run / LOG))

    def events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Tell events of the log: loss terms and learning rate as `train/...`, scores of an epoch as `val/...`."""
        told = list(events)
        self._tell_phases(told)
        for event in told if self.trackers else ():
            before = sum(end for phase, end in self._ends.items() if phase < event.get("phase", 0))
            self.step = max(self.step, before + int(event.get("step", 0)))
            kind = _KINDS.get(event["event"], event["event"])
            prefix = f"{kind}/{event['data']}" if "data" in event else str(kind)
            facts = {key.removeprefix("val_"): value for key, value in event.items() if key not in _PLACE}
            self._log(_numbers(facts, prefix), before + int(event.get("step", 0)))

    def scores(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Tell final scores as `test/DATA/MODEL/METRIC`, at the last step.

        Args:
            rows: rows of scores, one per data set and model.
        """
        values: dict[str, float] = {}
        for row in rows:
            values |= _numbers(row["metrics"], f"{row['split']}/{row['data']}/{row['model']}")
        self._log(values, max(self.step, sum(self._ends.values())))  # all of them, if training ended in an earlier call

    def close(self) -> None:
        """Let every tracker end."""
        for tracker in self.trackers:
            tracker.finish()
        self.trackers = []

    def _log(self, values: dict[str, float], step: int) -> None:
        for tracker in self.trackers if values else ():
            tracker.log(values, step=step)

    def _tell_phases(self, events: Iterable[Mapping[str, Any]]) -> None:
        self._ends |= {event.get("phase", 0): event["total_steps"] for event in events if "total_steps" in event}


def check_trackers(names: Sequence[str]) -> None:
    """Raise unless all trackers are installed.

    Raises:
        CallError: for an unknown name (the nearest is offered), or a missing package (what to install is told).

    Example:
        >>> check_trackers(())
    """
    known = {str(name): kind for name, kind in LOGGER_TYPE_TO_CLASS.items()}
    installed = {str(getattr(kind, "value", kind)) for kind in get_available_trackers()}
    for name in names:
        if name not in known:
            raise unknown_name("tracker", name, known, "They are those of Accelerate.")
        if known[name].__module__ == GeneralTracker.__module__ and name not in installed and not _found(name):
            package = f"'vlm-finetune[{name}]'" if name in EXTRAS else name.replace("_", "-")
            raise CallError(
                f"the tracker {name} is not installed. Expected its package: `pip install {package}`, or leave it out "
                "of --track; the log of a run is written without it."
            )


def _found(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@contextmanager
def open_tracking(recipe: Recipe, run: Path) -> Iterator[Tracking]:
    """Start the trackers that a recipe names, tell them its settings, and end them; on the main process only.

    Raises:
        CallError: see `check_trackers`.
    """
    names = recipe.tracking.trackers if process_state().is_main_process else ()
    check_trackers(names)
    tracking = Tracking(run, [_started(name, run) for name in names])
    try:
        for tracker in tracking.trackers:
            tracker.store_init_configuration(_settings(recipe))
        yield tracking
    finally:
        tracking.close()


def _started(name: str, run: Path) -> GeneralTracker:
    tracker = _BUILDERS.get(name, _any)(LOGGER_TYPE_TO_CLASS[name], run)
    tracker.start()
    return tracker


def _tensorboard(kind: type[GeneralTracker], run: Path) -> GeneralTracker:
    return kind("tensorboard", run / FOLDER)  # type: ignore[call-arg]


def _wandb(kind: type[GeneralTracker], run: Path) -> GeneralTracker:
    (run / FOLDER).mkdir(parents=True, exist_ok=True)
    offline = {} if "WANDB_MODE" in os.environ or _has_wandb_key() else {"mode": "offline"}
    return kind(PROJECT, name=run.name, dir=str(run / FOLDER), **offline)  # type: ignore[call-arg]


def _has_wandb_key() -> bool:
    """Return whether somebody has logged in: without, it would ask, or fail where nobody can be asked."""
    wandb: Any = importlib.import_module("wandb")  # an extra, which may not be there to be checked
    return bool(wandb.api.api_key)


def _named(kind: type[GeneralTracker], run: Path) -> GeneralTracker:
    return kind(PROJECT, name=run.name)  # type: ignore[call-arg]


def _mlflow(kind: type[GeneralTracker], run: Path) -> GeneralTracker:
    return kind(PROJECT, run_name=run.name)  # type: ignore[call-arg]


def _any(kind: type[GeneralTracker], run: Path) -> GeneralTracker:
    return kind(run.name, run / FOLDER) if kind.requires_logging_directory else kind(run.name)  # type: ignore


_BUILDERS: Mapping[str, Callable[[type[GeneralTracker], Path], GeneralTracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _named,
    "mlflow": _mlflow,
}
"""What each tracker calls a project and a run; those that are not here are called with the name of the run."""


def _settings(recipe: Recipe) -> dict[str, str | int | float | bool]:
    tables = {name: table for name, table in recipe.tables().items() if isinstance(table, Mapping)}
    return {
        f"{name}.{key}": value if isinstance(value, str | int | float | bool) else str(value)
        for name, table in tables.items()
        for key, value in table.items()
    }


def _numbers(facts: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Return all numbers of nested facts by path; trackers differ in what they allow in names."""
    found: dict[str, float] = {}
    for key, value in facts.items():
        path = f"{prefix}/{key}"
        if isinstance(value, Mapping):
            found |= _numbers(value, path)
        elif isinstance(value, int | float):
            found[re.sub(r"[^\w./-]+", "-", path)] = float(value)
    return found
