"""`vlm compare`: whether runs differ by more than chance and which is robust, from their files and nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import rich_click

from vlm_cli import options
from vlm_cli.comparison import show_calibration, show_differences, show_robustness, show_tests
from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_eval.comparing.baselines import Baselines
    from vlm_eval.comparing.judgement import Judgement

EPILOG = options.examples(
    "vlm compare runs/digits-tiny-full-seed0 runs/digits-tiny-flyp-seed0",
    "vlm compare runs/digits-tiny-full-seed0 runs/digits-tiny-flyp-seed0 --alpha 0.5 --json",
    "vlm compare runs/digits-tiny-full-seed0 --figures figures",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Compare the models with this weight of the fine-tuned one.",
)
@click.option(
    "--baselines",
    "baselines_file",
    type=click.Path(path_type=Path),
    help="CSV of models that learnt from ID data alone, for effective robustness; see vlm baselines.",
)
@click.option("--figures", type=click.Path(path_type=Path), help="Draw shifts against ID data into this folder.")
@click.option("--metric", default="accuracy", show_default=True, help="Of both axes of the figures, such as ece.")
@click.option(
    "--scale", type=click.Choice(["logit", "linear", "log"]), help="[default: logit for accuracy, else linear]"
)
@options.output_options
def command(
    runs: tuple[Path, ...],
    alpha: float,
    baselines_file: Path | None,
    figures: Path | None,
    metric: str,
    scale: str | None,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Compare runs: paired tests, robustness, calibration, differing answers; scatter plots.

    Runs that differ in nothing but their seed are one group; every other group is tested against that of the first run.
    The interval of a difference comes from resamples of the same images for both sides, and of the seeds; p is that of
    McNemar's exact test, for one run on each side. With --figures or --baselines one run is enough.
    """
    console = Console(as_json, verbose)
    from vlm_eval.comparing.baselines import read_baselines
    from vlm_eval.comparing.judgement import judge
    from vlm_eval.comparing.paired import group_runs

    if not figures and (scale or metric != "accuracy"):
        raise click.UsageError("--metric and --scale are about the axes of figures; give --figures FOLDER, too.")
    groups = group_runs(runs, alpha)
    if len(groups) < 2 and not figures and not baselines_file:
        raise click.UsageError(
            f"the {len(runs)} runs differ in nothing but their seeds; expected at least two kinds, such as two "
            "methods, or --figures or --baselines."
        )
    baselines = read_baselines(baselines_file) if baselines_file else None
    judgement = judge(groups, baselines, every_alpha=figures is not None)
    written = _write(figures, judgement, baselines, metric, scale) if figures else []
    console.document(judgement.document() | {"figures": [str(path) for path in written]})
    for name, tests in judgement.tests.items():
        show_tests(judgement.groups[0].name, name, tests, console)
    show_robustness(judgement, console)
    show_calibration(judgement, console)
    show_differences(judgement, console)
    for path in written:
        console.text(f"written  {path}")


def _write(
    folder: Path, judgement: "Judgement", baselines: "Baselines | None", metric: str, scale: str | None
) -> list[Path]:
    from vlm_eval.comparing.figures import write_scatter_figures, write_scatter_table

    figures = write_scatter_figures(
        folder, judgement.scored, judgement.fits, baselines, metric=metric, scale=scale  # type: ignore[arg-type]
    )  # fmt: skip
    return [*figures, write_scatter_table(folder, judgement.table())]
