"""`vlm doctor`: does vlm work here, and what is missing."""

import dataclasses

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console

EPILOG = options.examples(
    "vlm doctor",
    "vlm doctor --json",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@options.output_options
@click.pass_context
def command(ctx: click.Context, as_json: bool, verbose: bool, debug: bool) -> None:
    """Tell what this machine offers and what is missing.

    Looks at versions, devices, threads, space and permissions, says which weights are here, and lets the embedded model
    read embedded data. Nothing is downloaded. The exit code is 1 if there is a problem.
    """
    console = Console(as_json, verbose)
    console.say("vlm doctor: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_cli.checkup import check_up

    checks = []
    for check in check_up():
        checks.append(check)
        console.text(
            f"{check.status:<8} {check.name}: {check.found}" + (f"\n{'':9}{check.advice}" if check.advice else "")
        )
    problems = [check for check in checks if check.status == "problem"]
    console.document({"works": not problems, "checks": [dataclasses.asdict(check) for check in checks]})
    if problems:
        ctx.exit(1)
