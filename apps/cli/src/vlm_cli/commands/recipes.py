"""`vlm recipes`: the settings that ship with vlm, to look at and to take home."""

from pathlib import Path

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console

EPILOG = options.examples(
    "vlm recipes ls",
    "vlm recipes copy carot my-carot.toml",
)
LS_EPILOG = options.examples(
    "vlm recipes ls",
    "vlm recipes ls --json",
)
SHOW_EPILOG = options.examples(
    "vlm recipes show digits-full",
    "vlm recipes show carot --json",
)
COPY_EPILOG = options.examples(
    "vlm recipes copy flyp my-flyp.toml",
    "vlm recipes copy flyp my-flyp.toml --overwrite",
)


@click.group(cls=rich_click.RichGroup, epilog=EPILOG)
def command() -> None:
    """List, show and copy recipes."""


@command.command(cls=rich_click.RichCommand, epilog=LS_EPILOG)
@options.output_options
def ls(as_json: bool, verbose: bool, debug: bool) -> None:
    """List the shipped recipes with their method and where their values come from."""
    from vlm_finetune.recipe_files import recipe_names, recipe_tables

    console = Console(as_json, verbose)
    tables = {name: recipe_tables(name) for name in recipe_names()}
    listed = [
        {"name": name, "method": found["method"]["name"], "source": found["source"]} for name, found in tables.items()
    ]
    console.document({"recipes": listed})
    console.listing(("--recipe", "method", "source"), [tuple(row.values()) for row in listed])


@command.command(cls=rich_click.RichCommand, epilog=SHOW_EPILOG)
@click.argument("name")
@options.output_options
def show(name: str, as_json: bool, verbose: bool, debug: bool) -> None:
    """Print a shipped recipe as it is written; what it does not say takes the default."""
    from vlm_finetune.recipe_files import recipe_tables, recipe_text

    console = Console(as_json, verbose)
    text = recipe_text(name)
    console.document({"name": name, "recipe": recipe_tables(name)})
    console.text(text.rstrip("\n"))


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
