"""`vlm sweep`: many runs from one recipe, and one table of them all."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.recipe_run import run_recipe

if TYPE_CHECKING:
    from vlm_eval.many_runs.groups import SweepGroup

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
    mean and standard deviation over seeds; table.csv has every data set. In the folder figures are
    curves over one varied number, surfaces over two, and a dot for every run where methods or other names are varied.
    """
    console = Console(as_json, verbose)
    from vlm_data.files import write_text
    from vlm_eval.many_runs.figures import write_sweep_figures
    from vlm_eval.many_runs.groups import read_sweep
    from vlm_eval.many_runs.seeds import as_csv
    from vlm_finetune.grid import grid, resolve_points, share_of_job
    from vlm_finetune.point_list import read_points
    from vlm_finetune.run import find_run

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
        run = find_run(recipes[point.name], out / point.name)
        console.say(f"run {number} of {len(share)}: {point.name}{' is finished' if run and run.is_done else ''}")
        if not (run and run.is_done):
            run_recipe(recipes[point.name], out / point.name, device, False, console)
    console.say("reading the results of all finished runs")
    groups = read_sweep(points, recipes, out)
    settings = {group.name: group.settings for group in groups}
    write_text(out / "table.csv", as_csv([score for group in groups for score in group.scores], settings))
    _show(groups, len(points), [out / "table.csv", *write_sweep_figures(groups, out)], console)


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of whole numbers such as 0,1,2.", param_hint="--seeds") from None


def _show(groups: "list[SweepGroup]", wanted: int, written: list[Path], console: Console) -> None:
    runs = [str(run) for group in groups for run in group.runs]
    scores = [score for group in groups for score in group.scores]
    document = {"runs": runs, "missing": wanted - len(runs), "scores": [vars(score) for score in scores]}
    console.document({**document, "figures": [str(path) for path in written[1:]]})
    heads = [
        (column, metric) for column in next((g.shown for g in groups if g.shown), ()) for metric in ("accuracy", "ece")
    ]
    lines: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for score in scores:
        spread = "" if score.deviation is None else f" ± {100 * score.deviation:.1f}"
        cells = lines.setdefault((score.name, score.model_label), {})
        cells[score.column, score.metric] = f"{100 * score.mean:.1f}{spread}"
    labels = [f"{column} {'acc' if metric == 'accuracy' else 'ECE'}" for column, metric in heads]
    rows = [[f"{name}, {model}", *[cells.get(head, "-") for head in heads]] for (name, model), cells in lines.items()]
    console.table("accuracy and ECE in %, mean and standard deviation over seeds", ["", *labels], rows)
    if len(runs) < wanted:
        console.text(f"{wanted - len(runs)} runs are not finished yet; give the command again when they are.")
    console.text("\n".join(f"{'figure' if place else 'table '}  {path}" for place, path in enumerate(written)))
