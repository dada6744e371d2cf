"""`vlm compare`: whether runs differ by more than chance, from their files and from nothing else."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_eval.changes import Change
    from vlm_eval.paired import PairedTest

EPILOG = options.examples(
    "vlm compare runs/digits-tiny-full-seed0 runs/digits-tiny-flyp-seed0",
    "vlm compare runs/digits-tiny-full-seed0 runs/digits-tiny-flyp-seed0 --alpha 0.5 --json",
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
@options.output_options
def command(runs: tuple[Path, ...], alpha: float, as_json: bool, verbose: bool, debug: bool) -> None:
    """Compare runs with paired tests on every data set.

    Runs that differ in nothing but their seed are one group; every other group is tested against that of the first run.
    The interval of a difference comes from resamples of the same images for both sides, and of the seeds; p is that of
    McNemar's exact test, for one run on each side.
    """
    console = Console(as_json, verbose)
    from vlm_eval.paired import compare_groups, group_runs

    groups = group_runs(runs, alpha)
    if len(groups) < 2:
        raise click.UsageError(
            f"the {len(runs)} runs differ in nothing but their seeds; expected at least two kinds, such as two methods."
        )
    first, *others = groups
    found = [(other.name, compare_groups(first, other)) for other in others]
    console.document(
        {
            "alpha": alpha,
            "groups": [{"name": group.name, "runs": [str(run.path) for run in group.runs]} for group in groups],
            "comparisons": [
                {"first": first.name, "second": name, "tests": [_plain(test) for test in tests]}
                for name, tests in found
            ],
        }
    )
    for name, tests in found:
        _show(first.name, name, tests, console)


def _plain(test: "PairedTest") -> dict[str, Any]:
    return dataclasses.asdict(test)


def _show(first: str, second: str, tests: "list[PairedTest]", console: Console) -> None:
    rows = []
    for test in tests:
        p_value = "" if test.p_value is None else f"{test.p_value:.2g}"
        rows.append((test.data, *_cells(test.accuracy), p_value, *_cells(test.ece)))
    columns = ("data set", "accuracy %", "change", "95 %", "p", "ECE %", "change", "95 %")
    sizes = sorted({test.n for test in tests})
    images = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    caption = f"{images} images per set, {_seeds(tests[0])}. * marks differences whose interval does not contain 0; "
    caption += "of many tests at once some do so by chance."
    console.table(f"{second} against {first}", columns, rows, caption)


def _cells(change: "Change") -> tuple[str, str, str]:
    mark = "" if change.direction == "unclear" else " *"
    return (
        f"{100 * change.before:.1f} > {100 * change.after:.1f}",
        f"{100 * change.difference:+.1f}{mark}",
        f"{100 * change.low:+.1f}..{100 * change.high:+.1f}",
    )


def _seeds(test: "PairedTest") -> str:
    before, after = test.seeds
    return f"{before} and {after} seeds" if before != after else f"{before} seed{'s' * (before > 1)} each"
