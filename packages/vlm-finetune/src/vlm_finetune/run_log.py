"""The log of a run, `log.jsonl`: one JSON object per event, in order, without gaps after a resumption."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vlm_data.files import write_text


class RunLog:
    """Appends events to the log; does nothing on processes other than the main one.

    Attributes:
        path: the file.
        active: whether this process writes.
        watch: is told what was written.
    """

    def __init__(
        self, path: Path, active: bool = True, watch: Callable[[list[dict[str, Any]]], None] | None = None
    ) -> None:
        self.path = path
        self.active = active
        self.watch = watch

    def append(self, events: Iterable[dict[str, Any]]) -> None:
        """Write events, one line each."""
        told = list(events)
        if self.active and told:
            with open(self.path, "a", encoding="utf-8") as handle:
                handle.write("".join(json.dumps(event) + "\n" for event in told))
            if self.watch:
                self.watch(told)

    def rewind(self, phase: int, step: int) -> None:
        """Drop what was logged after a resume point; training will log it again."""
        if self.active and self.path.exists():
            kept = [e for e in read_log(self.path) if (e.get("phase", 0), e.get("step", 0)) <= (phase, step)]
            write_text(self.path, "".join(json.dumps(event) + "\n" for event in kept))


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read all whole lines of a log; a line that was cut by a crash is left out."""
    events = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events
