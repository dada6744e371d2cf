"""The entry point: a group that imports a command only when it is called."""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import click
import rich_click

from vlm_cli.failures import report_failure

COMMANDS = {
    "finetune": "Fine-tune a model and say what it cost: ID, shifts, calibration, interpolation.",
    "sweep": "Run a recipe with every combination of some settings, or with a list of them, and every seed.",
    "evaluate": "Evaluate models on a benchmark and all its shifts.",
    "interpolate": "Mix a zero-shot and a fine-tuned model (WiSE-FT), all weights in one pass over the data.",
    "soup": "Average the weights of models that were fine-tuned from one start (model soups).",
    "compare": "Compare runs: paired tests, robustness, calibration, differing answers; scatter plots.",
    "baselines": "Write the accuracies of the fine-tuned models of runs as baselines.",
    "explain": "Show which part of an image an answer rests on: relevance maps as pictures.",
    "rationale": "Tell whether right answers rest on the evidence: prediction, relevance, decision, PT and IR.",
    "spurious": "Plant, discover and judge spurious features: what a model has learnt instead (RaVL).",
    "diagnose": "Measure the geometry of image features on the ID test images.",
    "results": "Read the results database.",
    "report": "Write the HTML report of a run again from its files.",
    "data": "List, show and check data sets.",
    "models": "List, show, convert and export models.",
    "recipes": "List, show and copy recipes.",
    "doctor": "Tell what this machine offers and what is missing.",
}
"""Every command with its summary, so that `vlm --help` imports none of them; a test compares them."""


class LazyGroup(rich_click.RichGroup):
    """Knows the commands by name and imports the module of the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order they are shown."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a stand-in that has only name and summary, which is all that `--help` needs."""
        return rich_click.RichCommand(name=cmd_name, short_help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Import the command that is called; offer the nearest name for an unknown one."""
        name = args[0]
        if name in COMMANDS:
            return name, importlib.import_module(f"vlm_cli.commands.{name}").command, args[1:]
        if name.startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise click.UsageError(f"no command {name!r}.{guess} Expected one of {', '.join(COMMANDS)}.", ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vlm-cli")
def cli() -> None:
    """Fine-tune a vision-language model, and know what it cost you.

    `vlm finetune` without arguments is the main job on embedded data: no download, no GPU, about a minute.
    """


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0 done, 1 the work failed, 2 the call was wrong.

    Args:
        arguments: what follows `vlm`.
    """
    try:
        code = cli.main(list(arguments), prog_name="vlm", standalone_mode=False)
    except BaseException as error:
        return report_failure(error, debug="--debug" in arguments)
    return code if isinstance(code, int) else 0  # click returns the code of `--help` and of `ctx.exit`


def main() -> None:
    """Run the command line of this process and exit."""
    # Threads of PyTorch that wait for work shall sleep, not spin: spinning takes the cores from whoever has work,
    # and on a machine with other load `vlm finetune` used twice the CPU time. Read when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(sys.argv[1:]))
