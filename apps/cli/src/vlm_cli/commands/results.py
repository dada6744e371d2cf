"""`vlm results`: what has been measured so far, read from the results database."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.verdict import show_scores

if TYPE_CHECKING:
    from vlm_eval.rows import Row

EPILOG = options.examples(
    "vlm results",
    "vlm results --data 'digits*' --metric accuracy --metric nll",
    "vlm results runs/results.jsonl --run '*seed0' --alpha 0.5 --json",
    "vlm results --export wise-ft sweep.jsonl",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path), default=Path("runs/results.jsonl"))
@click.option("--model", help="zero-shot, fine-tuned, interpolated or a model spec; * and ? stand for any text.")
@click.option("--data", help="Data set, such as digits or 'digits/*'.")
@click.option("--run", help="Run directory, such as '*seed0'.")
@click.option("--split", type=click.Choice(["test", "val"]), help="[default: test; with --json both]")
@click.option("--alpha", type=click.FloatRange(0, 1), help="Weight of the fine-tuned model.")
@click.option(
    "--metric", "metrics", multiple=True, help="May be repeated.  [default: accuracy and ece; with --json all]"
)
@click.option(
    "--import",
    "foreign",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Add the scores of another program's file to the database first: WiSE-FT, CaRot, FLYP, CLIP_benchmark. "
    "May be repeated.",
)
@click.option(
    "--export",
    type=(str, click.Path(path_type=Path)),
    metavar="FORMAT FILE",
    help="Write what fits the filters as another program does: wise-ft, carot-stats, clip-benchmark, "
    "clip-benchmark-csv.",
)
@options.output_options
def command(
    file: Path,
    model: str | None,
    data: str | None,
    run: str | None,
    split: str | None,
    alpha: float | None,
    metrics: tuple[str, ...],
    foreign: tuple[Path, ...],
    export: tuple[str, Path] | None,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Read the results database.

    Of a measurement that was made again the latest counts. Databases of the WiSE-FT program are read, too. Lines that
    cannot be read are told on stderr and left out.
    """
    from vlm_eval import results
    from vlm_eval.comparing.row_tables import compare, keep_metrics

    console = Console(as_json, verbose)
    _import(foreign, file, console)
    found, problems = results.read(file)
    for problem in problems:
        console.say(f"warning: {problem}")
    rows = results.latest(found)
    _require(rows, "model", model, results.select(rows, model=model), file)
    _require(rows, "data", data, results.select(rows, data=data), file)
    _require(rows, "run", run, results.select(rows, run=run), file)
    rows = results.select(rows, model=model, data=data, run=run, split=split, alpha=alpha)
    rows = keep_metrics(rows, metrics) if metrics else rows
    if export:
        from vlm_eval.foreign_results import export_results

        for note in export_results(rows, *export):
            console.say(f"warning: {note}")
        console.say(f"wrote {export[1]} ({export[0]})")
    console.document({"rows": rows})
    for part in compare(rows, split or "test"):
        names = [name for name in (part.run, part.benchmark) if name] + ([f"({part.method})"] if part.method else [])
        caption = "shares in %, 95 % intervals below"
        show_scores(part.table, console, " ".join(names) or str(file), caption, metrics or ("accuracy", "ece"))
    if not rows:
        console.text(f"{len(found)} rows in {file}, none of them fits all that was asked for.")


def _import(files: tuple[Path, ...], database: Path, console: Console) -> None:
    """Add the rows of other programs' files to the database: of all of them, or of none."""
    from vlm_eval import results
    from vlm_eval.foreign_results import import_results

    found = [import_results(file) for file in files]
    for file, imported in zip(files, found, strict=True):
        for note in imported.notes:
            console.say(f"warning: {note}")
        console.say(f"{file} ({imported.format}): {len(imported.rows)} rows into {database}")
    results.append(database, [row for imported in found for row in imported.rows])


def _require(rows: list["Row"], key: str, wanted: str | None, fitting: list["Row"], file: Path) -> None:
    """Refuse a name that no row has, and offer the nearest."""
    from vlm_data.errors import unknown_name

    if wanted is not None and not fitting:
        known = {str(row[key]) for row in rows if row[key] is not None}
        raise unknown_name(key, wanted, known, f"Names are those in {file}.")
