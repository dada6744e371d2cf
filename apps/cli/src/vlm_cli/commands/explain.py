"""`vlm explain`: relevance maps of single images as pictures, and whether the maps can be trusted."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.data_choice import DataChoice, data_choice_options
from vlm_cli.image_choice import ImageChoice, ImagesToExplain
from vlm_cli.judging import short_names
from vlm_cli.map_checking import check_models, show_checks
from vlm_cli.map_pictures import show_explanations, write_maps
from vlm_cli.relevance_choice import RelevanceChoice, relevance_choice_options

if TYPE_CHECKING:
    from vlm_models.classifier import Classifier

EPILOG = options.examples(
    "vlm explain tiny",
    "vlm explain tiny photos/two/0.jpg --all-classes",
    "vlm explain tiny --beside run:runs/digits-tiny-full-seed0 --set invert --id digits/1200 --id digits/1203",
    "vlm explain tiny photos/two --class one --class two --layers all",
    'vlm explain tiny photos/two/0.jpg --text "a photo of a two" --text "a photo of a dog"',
    "vlm explain tiny --check",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("spec", metavar="SPEC")
@click.argument("images", metavar="[IMAGE|FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--beside", multiple=True, metavar="SPEC", help="A further model beside the first. May be repeated.")
@data_choice_options
@click.option("--set", "test_set", default="id", show_default=True, help="Test set that images without a file are of.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="An image of the test set. May be repeated.")
@click.option("--count", type=click.IntRange(min=1), help="First images of the test set.  [default: 6; 48 for --check]")
@click.option(
    "--text", "texts", multiple=True, help="A class in your own words in place of those of --data. Repeat it."
)
@click.option("--class", "classes", multiple=True, metavar="NAME", help="A class to explain. May be repeated.")
@click.option("--all-classes", is_flag=True, help="Explain every class.")
@click.option("--check", is_flag=True, help="Check whether maps can be trusted, and draw nothing.")
@relevance_choice_options
@options.device_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("explanations"),
    show_default=True,
    help="Folder of PNG files.",
)
@options.output_options
def command(
    spec: str,
    images: tuple[Path, ...],
    beside: tuple[str, ...],
    data: DataChoice,
    test_set: str,
    ids: tuple[str, ...],
    count: int | None,
    texts: tuple[str, ...],
    classes: tuple[str, ...],
    all_classes: bool,
    check: bool,
    relevance: RelevanceChoice,
    device: str | None,
    out: Path,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Show which part of an image an answer rests on: relevance maps as pictures.

    Without an image it explains some of a test set, whose evidence is outlined. The class that is explained is the
    label where it is known, else the prediction. --check randomises the weights and deletes parts of the images: maps
    that stay the same, or that the answer does not depend on, explain nothing.
    """
    console = Console(as_json, verbose)
    if images and (ids or test_set != "id"):
        raise click.UsageError("images are files, or --id and --set of a benchmark; give one of the two.")
    if ((classes or all_classes) and relevance.target) or (classes and all_classes):
        raise click.UsageError("--class, --all-classes and --target each say what is explained; give one of them.")
    if not all(text.strip() for text in texts) or len(set(texts)) < len(texts):
        raise click.UsageError("an empty --text, or one given twice, is no class of its own; expected different texts.")
    console.say("vlm explain: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_explain.explanations import explain_images
    from vlm_finetune.devices import processes

    relevance.check()
    specs = tuple(dict.fromkeys((spec, *beside)))
    choice = ImageChoice(images, test_set, ids, count or (48 if check else 6), texts)
    with processes(device) as state:
        chosen = choice.load(data, specs, console)
        models = load_models(specs, chosen, str(state.device))
        if not state.is_main_process:
            return
        wanted = tuple(dict.fromkeys(chosen.class_names if all_classes else classes))
        how = {name: relevance.of_classes(model, wanted, chosen.labelled) for name, model in models.items()}
        if check:
            checked = check_models(chosen, models, how, console)
            console.document({"checks": {name: one.document() for name, one in checked.items()}})
            show_checks(checked, console)
            return
        found = write_maps(explain_images(chosen.dataset, models, how, labelled=chosen.labelled), out)
    console.document({"images": [one.document() for one in found]})
    show_explanations(found, console)


def load_models(specs: Sequence[str], chosen: ImagesToExplain, device: str) -> "dict[str, Classifier]":
    """Return the models by the names they are shown under."""
    from vlm_models.zero_shot import load_classifier

    names = short_names(specs)
    return {names[spec]: load_classifier(spec, chosen.class_names, chosen.templates, device) for spec in specs}
