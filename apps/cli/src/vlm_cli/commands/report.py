"""`vlm report`: the HTML page of a run, from its files and from nothing else."""

from pathlib import Path

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console

EPILOG = options.examples(
    "vlm report runs/digits-tiny-full-seed0",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="Run before mitigation [default: that whose discovery RUN was fine-tuned with].",
)
@options.output_options
def command(runs: tuple[Path, ...], against: Path | None, as_json: bool, verbose: bool, debug: bool) -> None:
    """Write the HTML report of a run again from its files.

    Needs no model and no data: tables of predictions, log and recipe are enough, so it works years later, too.
    """
    console = Console(as_json, verbose)
    console.say("vlm report: loading libraries, this takes some seconds")
    from vlm_eval.report import write_report
    from vlm_finetune import open_run

    folders = [open_run(run).path for run in runs]  # all are checked before the first is written
    reports = []
    for folder in folders:
        console.say(f"reading {folder}")
        reports.append(str(write_report(folder, against=against)))
    console.document({"reports": reports})
    console.text("\n".join(reports))
