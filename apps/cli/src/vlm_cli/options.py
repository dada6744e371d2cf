"""Flags that mean the same in every command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def _several(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


data_options = _several(
    click.option("--data", help="Benchmark, or folder:DIR, csv:FILE, jsonl:FILE, parquet:FILE.  [default: digits]"),
    click.option("--data-root", type=click.Path(path_type=Path), help="Folder that relative paths of data start from."),
    click.option("--limit", type=click.IntRange(min=1), help="Keep at most N samples per split and shift."),
    click.option("--skip-unreadable", is_flag=True, help="Leave out images that cannot be decoded, and count them."),
)
device_option = click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: a GPU if there is one]")
out_option = click.option("--out", type=click.Path(path_type=Path), help="Where to write.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Remove what an earlier call left there, and start again.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Check everything and tell what would be done.")
output_options = _several(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else."),
    click.option("-v", "--verbose", is_flag=True, help="Show what the libraries log."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
