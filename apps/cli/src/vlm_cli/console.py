"""What the user sees: messages, progress and tables, from the main process only; with `--json`, one document."""

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

_PLAIN_EVERY = 5.0
"""Seconds between two lines of progress when the output is no terminal."""


class Console:
    """Writes messages and progress to stderr, results to stdout.

    Attributes:
        as_json: print one JSON document on stdout and nothing else there.
        is_main: whether this process speaks; others are silent.
    """

    def __init__(self, as_json: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        if verbose:
            logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
        self.is_main = int(os.environ.get("RANK", "0")) == 0
        self._bar: Any = None
        self._stage, self._began, self._told = "", 0.0, 0.0

    def say(self, text: str) -> None:
        """Write one line of information to stderr."""
        if self.is_main:
            self.end_progress()
            print(text, file=sys.stderr, flush=True)

    def skipped(self, files: Sequence[str]) -> None:
        """Tell which unreadable files were left out on request."""
        if files:
            named = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
            self.say(
                f"warning: {len(files)} unreadable image{'s were' if len(files) > 1 else ' was'} left out: {named}"
            )

    def notes(self, notes: Sequence[str]) -> None:
        """Tell what should be known about the data before a number is read."""
        for note in notes:
            self.say(f"note: {note}")

    def progress(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is, with rate and remaining time; fits `vlm_data.progress.Progress`."""
        if not self.is_main:
            return
        name = stage.split(" (loss")[0]
        if name != self._stage:
            self.end_progress()
            self._stage, self._began = name, time.monotonic()
            self._told = self._began
        if sys.stderr.isatty():
            self._draw(stage, done, total)
        elif time.monotonic() - self._told >= _PLAIN_EVERY:
            self._told = time.monotonic()
            rate = done / (self._told - self._began)
            print(
                f"{stage} {done}/{total}, {rate:.1f}/s, {(total - done) / rate:.0f} s left", file=sys.stderr, flush=True
            )

    def end_progress(self) -> None:
        """Remove a progress bar that is on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._stage = ""

    def _draw(self, stage: str, done: int, total: int) -> None:
        from rich import progress as bars
        from rich.console import Console as RichConsole

        if self._bar is None:
            columns = (
                bars.TextColumn("{task.description}"),
                bars.BarColumn(),
                bars.MofNCompleteColumn(),
                bars.TextColumn("{task.fields[rate]}"),
                bars.TimeRemainingColumn(),
            )
            self._bar = bars.Progress(*columns, console=RichConsole(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(stage, total=total, rate="")
        elapsed = time.monotonic() - self._began
        rate = f"{done / elapsed:.1f}/s" if elapsed > 0 else ""
        self._bar.update(self._task, description=stage, completed=done, total=total, rate=rate)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
        """Print a table to stdout; the first column is text, the others are numbers."""
        if self.as_json or not self.is_main:
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        drawn = Table(box=SIMPLE_HEAD)
        for position, column in enumerate(columns):
            width = 12 if position else 32
            drawn.add_column(column, justify="right" if position else "left", overflow="fold", max_width=width)
        for row in rows:
            drawn.add_row(*row)
        # Not as title and caption of the table: those are folded at its width, which may be small.
        if title:
            self.text(title)
        self._draw_table(drawn)
        if caption:
            self.text(caption)

    def listing(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table of words to stdout; long cells are folded at the width of the terminal."""
        if self.as_json or not self.is_main:
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        drawn = Table(box=SIMPLE_HEAD, show_header=any(columns))
        for column in columns:
            drawn.add_column(column, overflow="fold")
        for row in rows:
            drawn.add_row(*row)
        self._draw_table(drawn)

    def _draw_table(self, drawn: Any) -> None:
        from rich.console import Console as RichConsole

        self.end_progress()
        # A pipe has no width: take what the table needs, so that nothing is cut.
        width = None if sys.stdout.isatty() else 400
        RichConsole(width=width, highlight=False, markup=False).print(drawn)

    def document(self, content: Any) -> None:
        """Print the JSON document of `--json`."""
        if self.as_json and self.is_main:
            print(json.dumps(content, indent=2, allow_nan=False))

    def text(self, content: str) -> None:
        """Print text to stdout, unless `--json` was asked for."""
        if self.is_main and not self.as_json:
            self.end_progress()
            print(content, flush=True)
