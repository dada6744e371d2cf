"""`vlm spurious validate`: have runs learnt what was planted, and did discovery find it."""

from pathlib import Path

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.spurious.validity_tables import show_judged

EPILOG = options.examples(
    "vlm spurious validate runs/planted",
    "vlm spurious validate runs/planted --json",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.output_options
def command(runs: tuple[Path, ...], as_json: bool, verbose: bool, debug: bool) -> None:
    """Tell whether runs on controlled settings have learnt the planted shortcut, and whether it was found.

    Runs that differ in nothing but the seed are judged together: a setting is valid at a threshold if the class gains
    more than that by the feature, and some other class loses more than that, for all seeds. Where a run was searched
    with `vlm spurious discover`, Precision@K and Recall@K of what was found. Reads files; needs no model.
    """
    console = Console(as_json, verbose)
    console.say("vlm spurious validate: reading runs")
    from vlm_eval.spurious.settings import judge_runs, write_validity

    judged = judge_runs(runs)
    written = write_validity(judged)
    console.document({"settings": [one.document() for one in judged], "files": [str(path) for path in written]})
    show_judged(judged, console)
