"""`vlm recipes`: the settings that ship with vlm, to look at and to take home."""

from pathlib import Path

import click
import rich_click

from vlm_cli import options, published
from vlm_cli.console import Console

EPILOG = options.examples(
    "vlm recipes ls",
    "vlm recipes copy carot my-carot.toml",
)
LS_EPILOG = options.examples(
    "vlm recipes ls --method carot",
    "vlm recipes ls --data imagenet --json",
)
SHOW_EPILOG = options.examples(
    "vlm recipes show digits-full",
    "vlm recipes show imagenet-carot",
    "vlm recipes show imagenet-carot --json",
)
COPY_EPILOG = options.examples(
    "vlm recipes copy flyp my-flyp.toml",
    "vlm recipes copy flyp my-flyp.toml --overwrite",
)


@click.group(cls=rich_click.RichGroup, epilog=EPILOG)
def command() -> None:
    """List, show and copy recipes."""


@command.command(cls=rich_click.RichCommand, epilog=LS_EPILOG)
@click.option("--method", help="Only recipes of this method.")
@click.option("--data", help="Only recipes for this benchmark; * and ? stand for any text, any for other data.")
@click.option("--model", help="Only recipes for this model spec; * and ? stand for any text.")
@options.output_options
def ls(method: str | None, data: str | None, model: str | None, as_json: bool, verbose: bool, debug: bool) -> None:
    """List the shipped recipes by data set, with method, model and where their values come from."""
    from vlm_finetune.recipe_listing import list_recipes

    console = Console(as_json, verbose)
    listed = list_recipes(method, data, model)
    console.document({"recipes": [found.facts() for found in listed]})
    lines = [(found.name, found.method, found.data, found.model, found.citation) for found in listed]
    console.listing(("--recipe", "method", "data", "model", "settings from"), lines)


@command.command(cls=rich_click.RichCommand, epilog=SHOW_EPILOG)
@click.argument("name")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="Put the scores of this run beside the table.")
@options.output_options
def show(name: str, folder: Path | None, as_json: bool, verbose: bool, debug: bool) -> None:
    """Print a shipped recipe as it is written, and the scores that are published for it.

    What a recipe does not say takes the default. Calibration of a run is measured with the published estimator.
    """
    from vlm_finetune.recipe_files import recipe_chain, recipe_tables, recipe_text

    console = Console(as_json, verbose)
    tables = recipe_tables(name)
    found, changed = published.scores_beside(name, folder)
    console.document(
        {"name": name, "recipe": tables, "changed": changed, "published": published.published_document(found)}
    )
    for position, part in enumerate(recipe_chain(name)):
        console.text((f"\n# {part}, which it extends\n" if position else "") + recipe_text(part).rstrip("\n"))
    if found or "name" in tables.get("data", {}):
        console.text("" if found else "\nno published scores of this run are known to us")
    published.show_published(found, console)
    if changed:
        console.text(f"{folder} has other settings than {name}: {'; '.join(changed)}")


@command.command(cls=rich_click.RichCommand, epilog=COPY_EPILOG)
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@options.output_options
def copy(name: str, file: Path, overwrite: bool, as_json: bool, verbose: bool, debug: bool) -> None:
    """Copy a shipped recipe into a file of your own, to change it and use it with --recipe FILE."""
    from vlm_finetune.recipe_files import copy_recipe

    console = Console(as_json, verbose)
    target = copy_recipe(name, file, overwrite)
    console.document({"name": name, "file": str(target)})
    console.text(f"{target}\nuse it with: vlm finetune --recipe {target}")
