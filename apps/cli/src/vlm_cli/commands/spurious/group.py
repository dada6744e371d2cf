"""The group `vlm spurious`; every subcommand has a file of its own here."""

import click
import rich_click

from vlm_cli.commands.spurious import build, discover, validate


@click.group(cls=rich_click.RichGroup)
def command() -> None:
    """Plant, discover and judge spurious features: what a model has learnt instead (RaVL).

    `build` makes data in which a feature goes with a class, `discover` finds such features in a model without being
    told, `validate` tells whether runs have learnt the one that was planted.
    """


command.add_command(build.command, "build")
command.add_command(discover.command, "discover")
command.add_command(validate.command, "validate")
