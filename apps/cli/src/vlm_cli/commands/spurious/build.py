"""`vlm spurious build`: data in which a feature that means nothing goes with a class, as strongly as wanted."""

from pathlib import Path
from typing import Any

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.spurious.build_choice import BuildChoice, build_options

EPILOG = options.examples(
    "vlm spurious build --class nine --n 400 --val 100 --test 100 --out settings",
    "vlm spurious build --class nine,one --v 0,0.9,0.99 --seeds 0,1 --dry-run",
    "vlm spurious build plant:folder:photos --feature 'blue disc' --place random --class one --v 0.9 --out settings",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("source", default="digits")
@build_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("settings"),
    show_default=True,
    help="Folder of the settings and of the images that they share.",
)
@options.overwrite_option
@options.dry_run_option
@options.output_options
def command(
    out: Path, overwrite: bool, dry_run: bool, as_json: bool, verbose: bool, debug: bool, **choice: Any
) -> None:
    """Build controlled settings: data in which a feature goes with one class.

    SOURCE is digits (embedded), mnist or fashion-mnist (below --data-root): an object and the feature in quadrants of a
    black canvas; coco: photographs with boxed objects, the feature is a category; plant:DATA: any benchmark of yours,
    for example plant:folder:photos, with the feature drawn into its images.

    Every class, strength and seed makes one setting, OUT/SOURCE-CLASS-vV-sSEED, which is read by --data spurious:DIR.
    In training images the feature goes with the class; in validation and test it goes with none.
    """
    console = Console(as_json, verbose)
    plan = BuildChoice(**choice).plan(console)
    console.notes(plan.notes)
    if dry_run:
        facts = plan.facts(out, overwrite=overwrite)
        console.say(f"dry run: nothing is written to {out}")
    else:
        facts = plan.write(out, overwrite=overwrite, progress=console.progress)
    console.document({"out": str(out), "written": not dry_run, "settings": facts})
    _show(facts, console)


def _show(facts: list[dict[str, Any]], console: Console) -> None:
    from vlm_data.controlled.plans import precision_notes

    console.notes(precision_notes(facts))
    columns = ("--data", "feature", "goes with", "V", "train", "with it", "of its class", "val", "test")
    console.listing(columns, [_row(one) for one in facts])


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    """Return a line of the table: training images with the feature, and those of its class among them, too."""
    sizes = {split: sum(map(sum, cells.values())) for split, cells in one["images"].items()}
    train = one["images"]["train"]
    return (
        one["data"],
        one["feature"],
        one["spurious_class"],
        f"{one['achieved_v']:.3f}",
        str(sizes["train"]),
        str(sum(present for _, present in train.values())),
        str(train[one["spurious_class"]][1]),
        str(sizes["val"]),
        str(sizes["test"]),
    )
