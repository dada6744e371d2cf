"""Flags that mean the same in every command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def examples(*calls: str) -> str:
    """Return the end of a help page: calls that work as they are; a test runs every one of them.

    rich-click joins lines that no empty line parts, so each call is a paragraph of its own.
    """
    return "\n\n".join(("Examples:", *calls))


def several(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return one decorator for some flags; help lists them in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


data_root_option = click.option(
    "--data-root", type=click.Path(path_type=Path), help="Folder that relative paths of data start from."
)
limit_option = click.option("--limit", type=click.IntRange(min=1), help="Keep at most N samples per split and shift.")
skip_unreadable_option = click.option(
    "--skip-unreadable", is_flag=True, help="Leave out images that cannot be decoded, and count them."
)
data_seed_option = click.option(
    "--seed", "data_seed", type=int, default=0, show_default=True, help="Of what the data draws: splits, shifts."
)
data_options = several(
    click.option(
        "--data",
        help="Benchmark, or folder:DIR, csv:FILE, jsonl:FILE, parquet:FILE.  [default: that of a run, else digits]",
    ),
    data_root_option,
    limit_option,
    skip_unreadable_option,
)
device_option = click.option("--device", help="cpu, cuda, cuda:1, mps.  [default: a GPU if there is one]")
out_option = click.option("--out", type=click.Path(path_type=Path), help="Where to write.")
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Remove what an earlier call left there, and start again."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Check everything and tell what would be done.")
output_options = several(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else."),
    click.option("-v", "--verbose", is_flag=True, help="Show what the libraries log."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
evaluations_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/evaluations"),
    show_default=True,
    help="Folder for the tables of predictions.",
)
results_option = click.option(
    "--results-db",
    "results_file",
    type=click.Path(path_type=Path),
    default=Path("runs/results.jsonl"),
    show_default=True,
    help="Results database that the rows are appended to.",
)


def parse_alpha(text: str, flag: str = "--alpha") -> float | None:
    """Read a weight in [0, 1], or `auto` as None.

    Raises:
        BadParameter: for anything else.
    """
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise click.BadParameter(f"{text!r} is neither a number in [0, 1] nor auto.", param_hint=flag)
    return value


def parse_alphas(text: str | None) -> list[float]:
    """Read weights separated by commas; 0, 0.1, ... 1 if there is no text."""
    if text is None:
        return [round(0.1 * step, 1) for step in range(11)]
    values = [parse_alpha(part.strip(), "--alphas") for part in text.split(",")]
    if None in values:
        raise click.BadParameter("auto is no weight to evaluate; write numbers in [0, 1].", param_hint="--alphas")
    return [value for value in values if value is not None]
