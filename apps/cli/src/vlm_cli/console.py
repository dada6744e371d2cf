"""What the user sees: messages, progress and tables, from the main process only; with `--json`, one document."""

import itertools
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

_PLAIN_EVERY = 5.0
"""Seconds between two lines of progress when the output is no terminal."""

_TEXT, _NUMBER = 32, 12
"""Widest first column, and widest heading of another one before it is folded between words."""
_FRAME = 3
"""Characters between two columns."""


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

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        caption: str = "",
        together: Sequence[int] = (),
    ) -> None:
        """Print a table to stdout, in parts where the terminal is narrower; the first column is text, others numbers.

        Args:
            title: line above the table.
            columns: headings; the first column stands in every part.
            rows: a cell for every column.
            caption: line below the table.
            together: numbers of columns, from the second on, that mean nothing without each other. None = 1 each.
        """
        if self.as_json or not self.is_main:
            return
        # Not as title and caption of the table: those are folded at its width, which may be small.
        if title:
            self.text(title)
        widths = column_widths(columns, rows)
        for part in parts_of_table(widths, together, _terminal_width()):
            self._draw_part(columns, rows, part, widths)
        if caption:
            self.text(caption)

    def _draw_part(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], part: Sequence[int], widths: Sequence[int]
    ) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        drawn = Table(box=SIMPLE_HEAD)
        for number in part:
            narrowest, widest = (widths[number], max(_NUMBER, widths[number])) if number else (None, _TEXT)
            justify = "right" if number else "left"
            drawn.add_column(columns[number], justify=justify, overflow="fold", min_width=narrowest, max_width=widest)
        for row in rows:
            drawn.add_row(*[row[number] for number in part])
        self._draw_table(drawn)

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
        RichConsole(width=_terminal_width(), highlight=False, markup=False).print(drawn)

    def document(self, content: Any) -> None:
        """Print the JSON document of `--json`."""
        if self.as_json and self.is_main:
            print(json.dumps(content, indent=2, allow_nan=False))

    def text(self, content: str) -> None:
        """Print text to stdout, unless `--json` was asked for."""
        if self.is_main and not self.as_json:
            self.end_progress()
            print(content, flush=True)


def column_widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    r"""Return the least width of every column in characters at which no number and no word of a heading is cut.

    Example:
        >>> column_widths(["", "mean of shifts"], [["full", "60.2\n53-67"], ["a long name", "-35.1..+62.0"]])
        [11, 12]
    """
    cells = [[line for row in rows for line in row[number].split("\n")] for number in range(len(columns))]
    words = [[word[:_NUMBER] for word in column.split()] for column in columns]
    widths = [max(map(len, (*lines, *heading)), default=0) for lines, heading in zip(cells, words, strict=True)]
    return [min(widths[0], _TEXT), *widths[1:]]


def parts_of_table(widths: Sequence[int], together: Sequence[int], width: int) -> list[list[int]]:
    """Return the columns of every part of a table, the first column in each, so that parts fit a width.

    Args:
        widths: of the columns, in characters.
        together: numbers of columns, from the second on, that stay in one part; the rest stands alone.
        width: of the terminal, in characters. A group that is wider still makes a part of its own.

    Example:
        >>> parts_of_table([5, 5, 5, 5], (), width=25), parts_of_table([5, 5, 5, 5], (1, 2), width=25)
        ([[0, 1, 2], [0, 3]], [[0, 1], [0, 2, 3]])
    """
    starts = [1]
    for size in together:
        starts.append(starts[-1] + size)
    starts += range(starts[-1] + 1, len(widths) + 1)
    parts: list[list[int]] = [[0]]
    for start, end in itertools.pairwise(starts):
        group = list(range(start, end))
        needed = 1 + sum(widths[number] + _FRAME for number in (*parts[-1], *group))
        if needed > width and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1] += group
    return parts


def _terminal_width() -> int:
    """Characters in a line; a pipe has no width, and takes what a table needs."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 400
