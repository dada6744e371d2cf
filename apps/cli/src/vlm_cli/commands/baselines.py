"""`vlm baselines`: a file of baselines from runs, on which `vlm compare` measures effective robustness."""

from pathlib import Path

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console

EPILOG = options.examples(
    "vlm baselines runs/scratch --out baselines.csv",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="CSV file to write.")
@options.overwrite_option
@options.output_options
def command(runs: tuple[Path, ...], out: Path, overwrite: bool, as_json: bool, verbose: bool, debug: bool) -> None:
    """Write the accuracies of the fine-tuned models of runs as baselines.

    One line per run, one column per data set; a corruption is the mean over its severities. A RUN may also be a folder
    of runs, such as the --out of a sweep.

    Baselines are models that learnt from ID data alone, of many strengths: runs from random weights (tiny:random,
    openclip:ARCH), trained for more and for fewer epochs. Give the file to `vlm compare --baselines`.
    """
    console = Console(as_json, verbose)
    from vlm_data.errors import CallError
    from vlm_data.files import write_text
    from vlm_eval.comparing.baselines import baselines_csv, baselines_of_runs

    if out.exists() and not overwrite:
        raise CallError(f"{out} is there already. Give another --out, or --overwrite to replace it.")
    baselines = baselines_of_runs(runs)
    write_text(out, baselines_csv(baselines))
    console.document({"baselines": str(out), "models": list(baselines.models), "data": list(baselines.accuracy)})
    cells = [
        (model, *[f"{100 * values[row]:.1f}" for values in baselines.accuracy.values()])
        for row, model in enumerate(baselines.models)
    ]
    console.table("accuracy in %", ("model", *baselines.accuracy), cells)
    console.text(f"baselines  {out}")
