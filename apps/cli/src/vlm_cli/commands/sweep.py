"""`vlm sweep`: many runs from one recipe, and one table of them all."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.recipe_run import run_recipe

if TYPE_CHECKING:
    from vlm_eval.seeds import SeedScore
    from vlm_finetune.grid import Point

EPILOG = options.examples(
    "vlm sweep --grid method.name=full,flyp --seeds 0,1 --out runs/methods",
    "vlm sweep --method flyp --grid training.lr=1e-3,2e-3 --job 1/2 --out runs/rates",
    "vlm sweep --points points.csv --seeds 0,1 --dry-run --out runs/list",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.option("--grid", "axes", multiple=True, metavar="TABLE.KEY=V,V", help="Vary a setting; may be repeated.")
@click.option(
    "--points",
    "list_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="List of runs: a CSV with columns TABLE.KEY, or a TOML file of [[point]] tables.",
)
@click.option("--seeds", default="0", show_default=True, help="Seeds of the training, separated by commas.")
@click.option("--recipe", help="Shipped recipe or TOML file.  [default: the one for model, data and method]")
@click.option("--set", "assignments", multiple=True, metavar="TABLE.KEY=VALUE", help="A setting of all runs.")
@click.option("--model", help="Model spec of all runs.")
@click.option("--data", help="Benchmark of all runs, or folder:DIR, csv:FILE, jsonl:FILE, parquet:FILE.")
@click.option("--method", help="Method of all runs.")
@options.limit_option
@click.option("--epochs", type=click.IntRange(min=0), help="Passes over the training images.")
@click.option("--job", metavar="I/N", help="Do every N-th run from the I-th only: one job of a cluster array.")
@options.device_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the runs and the table.")
@options.dry_run_option
@options.output_options
def command(
    axes: tuple[str, ...],
    list_file: Path | None,
    seeds: str,
    recipe: str | None,
    assignments: tuple[str, ...],
    model: str | None,
    data: str | None,
    method: str | None,
    limit: int | None,
    epochs: int | None,
    job: str | None,
    device: str | None,
    out: Path,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Run a recipe with every combination of some settings, or with a list of them, and every seed.

    Every run gets a folder of its own in --out; finished ones are not repeated, unfinished ones go on, so the same
    command may be given again, or in several jobs with --job. At the end stands one table over all runs that are there,
    mean and standard deviation over seeds; table.csv has every data set.
    """
    console = Console(as_json, verbose)
    from vlm_finetune.grid import grid, resolve_points, share_of_job
    from vlm_finetune.point_list import read_points

    points = grid(axes, _seeds(seeds), read_points(list_file) if list_file else ())
    flags = {"model": {"spec": model}, "data": {"name": data, "limit": limit}}
    flags |= {"method": {"name": method}, "training": {"epochs": epochs}}
    given = {table: {k: v for k, v in keys.items() if v is not None} for table, keys in flags.items()}
    recipes = resolve_points(points, recipe, assignments, given)  # all are checked before the first begins
    share = share_of_job(points, job) if job else points
    if dry_run:
        console.document({"runs": [{"run": str(out / point.name), "settings": point.assignments} for point in share]})
        console.listing(("", "run"), [(str(number), str(out / p.name)) for number, p in enumerate(share, start=1)])
        return
    for number, point in enumerate(share, start=1):
        console.say(f"run {number} of {len(share)}: {point.name}")
        run_recipe(recipes[point.name], out / point.name, device, False, console)
    _finish(points, out, console)


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of whole numbers such as 0,1,2.", param_hint="--seeds") from None


def _finish(points: "list[Point]", out: Path, console: Console) -> None:
    """Write and show the table over all runs of the sweep that are finished, those of other jobs included."""
    from vlm_data.files import write_text
    from vlm_eval.evaluation import read_verdict
    from vlm_eval.seeds import as_csv, main_columns, seed_scores
    from vlm_finetune import open_run
    from vlm_finetune.run import DONE

    groups: dict[str, list[Path]] = {}
    for point in points:
        groups.setdefault(point.group, []).append(out / point.name)
    done = {name: [path for path in paths if (path / DONE).exists()] for name, paths in groups.items()}
    missing = sum(len(paths) for paths in groups.values()) - sum(len(runs) for runs in done.values())
    scores: list[SeedScore] = []
    shown: list[str] = []
    for name, runs in done.items():
        verdicts = [read_verdict(open_run(run)) for run in runs]
        if verdicts:
            scores += seed_scores(name, [v.rows for v in verdicts], [v.alpha for v in verdicts])
            shown = shown or main_columns(verdicts[0].rows)
    write_text(out / "table.csv", as_csv(scores))
    console.document(
        {
            "runs": [str(run) for runs in done.values() for run in runs],
            "missing": missing,
            "scores": [vars(score) for score in scores],
        }
    )
    _show(scores, shown, console)
    if missing:
        console.text(f"{missing} runs of other jobs are not finished yet; give the command again when they are.")
    console.text(f"table {out / 'table.csv'}")


def _show(scores: "list[SeedScore]", shown: list[str], console: Console) -> None:
    lines: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for score in scores:
        spread = "" if score.deviation is None else f" ± {100 * score.deviation:.1f}"
        cells = lines.setdefault((score.name, score.model), {})
        cells[score.column, score.metric] = f"{100 * score.mean:.1f}{spread}"
    heads = [(column, metric) for column in shown for metric in ("accuracy", "ece")]
    labels = [f"{column} {'acc' if metric == 'accuracy' else 'ECE'}" for column, metric in heads]
    rows = [[f"{name}, {model}", *[cells.get(head, "-") for head in heads]] for (name, model), cells in lines.items()]
    console.table("accuracy and ECE in %, mean and standard deviation over seeds", ["", *labels], rows)
