"""`vlm spurious discover`: which parts of images a model leans on where it should not, without being told."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.data_choice import DataChoice, data_choice_options
from vlm_cli.spurious.discovering import SPLITS, default_folder, search
from vlm_cli.spurious.discovery_choice import discovery_choice_options
from vlm_cli.spurious.discovery_tables import show_found
from vlm_cli.spurious.region_choice import RegionChoice, region_choice_options

if TYPE_CHECKING:
    from vlm_explain.discovery import DiscoveryOptions

EPILOG = options.examples(
    "vlm spurious discover tiny --limit 200",
    "vlm spurious discover run:runs/digits-tiny-full-seed0 --regions grid:3x3 --limit 200",
    "vlm spurious discover tiny --limit 200 --pooling crop --strategy trove --json",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("spec", metavar="SPEC")
@data_choice_options
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default=SPLITS[0],
    show_default=True,
    help="Images to search. Keep the others to judge what is found.",
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Search the answers in this table, of any model, in place of those of SPEC.",
)
@region_choice_options
@discovery_choice_options
@options.device_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where to write.  [default: spurious/ of the run, else a folder in runs/spurious]",
)
@options.output_options
def command(
    spec: str,
    data: DataChoice,
    split: str,
    predictions: Path | None,
    regions: RegionChoice,
    chosen: "Callable[[], DiscoveryOptions]",
    device: str | None,
    out: Path | None,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Find the parts of images that a model leans on where it should not.

    Regions are clustered by what the model sees in them. A cluster is reported if it raises the accuracy of some
    classes and lowers that of others, and if its regions speak for the wrong answers; nobody has to say what to look
    for. Writes a picture of every cluster that is reported, and for `vlm finetune --regions` which regions of the
    training images are of the first.
    """
    console = Console(as_json, verbose)
    console.say("vlm spurious discover: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_finetune.devices import processes
    from vlm_models.zero_shot import load_classifier

    wanted = chosen()
    with processes(device) as state:
        benchmark = data.load([spec], console)
        model = load_classifier(spec, benchmark.class_names, benchmark.templates, str(state.device))
        folder = out or default_folder(spec, benchmark.name)
        found = search(model, benchmark, split, regions, wanted, predictions, folder, console)
    if found is None:
        return
    console.document(found.document())
    show_found(found, console)
