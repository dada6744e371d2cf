"""`vlm finetune`: base model + benchmark + method -> run, verdict and report."""

from pathlib import Path
from typing import Any

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.recipe_run import run_recipe
from vlm_cli.verdict import show_plan, show_verdict

EPILOG = options.examples(
    "vlm finetune",
    "vlm finetune --method carot --alpha auto",
    "vlm finetune --data folder:photos --model openclip:ViT-B-32/laion2b_s34b_b79k",
    "vlm finetune --data csv:photos/table.csv --method flyp",
    "vlm finetune --recipe runs/digits-tiny-full-seed0/recipe.toml --seed 1",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.option("--model", help="Model spec: tiny, openclip:ARCH/TAG, run:DIR, file:DIR.  [default: tiny]")
@options.data_options
@click.option("--method", help="full, linear-probe, lp-ft, flyp, carot or another, see the docs.  [default: full]")
@click.option(
    "--regions",
    help="Table of regions of the training images that tells which are spurious, for region-aware and its baselines: "
    "train-regions.parquet of `vlm spurious discover`, regions.parquet of a built setting.",
)
@click.option("--recipe", help="Shipped recipe or TOML file.  [default: the one for model, data and method]")
@click.option(
    "--set", "assignments", multiple=True, metavar="TABLE.KEY=VALUE", help="Change any setting of the recipe."
)
@click.option("--epochs", type=click.IntRange(min=0), help="Passes over the training images.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Samples per optimiser step, over all processes. --set training.accumulation_steps=N goes through them in N "
    "parts for a smaller memory; contrastive losses still compare the whole batch (training.negatives).",
)
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--seed", type=int, help="Of data order, captions, augmentation, adapters.")
@click.option(
    "--lora-rank",
    type=click.IntRange(min=0),
    help="Train low-rank adapters (LoRA) of this rank in place of whole towers; they are merged into the saved model.",
)
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Of the forward pass.")
@click.option("--alpha", help="Weight of the fine-tuned model in the interpolated one, or auto.  [default: 0.5]")
@click.option(
    "--track",
    "trackers",
    multiple=True,
    metavar="NAME",
    help="Send the log to a tracker, too: tensorboard, wandb, mlflow, trackio. May be repeated.",
)
@options.device_option
@options.out_option
@options.overwrite_option
@options.dry_run_option
@options.output_options
def command(
    assignments: tuple[str, ...],
    recipe: str | None,
    device: str | None,
    out: Path | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
    debug: bool,
    **values: Any,
) -> None:
    """Fine-tune a model and say what it cost: ID, shifts, calibration, interpolation.

    Trains, keeps the epoch with the best validation accuracy, evaluates the zero-shot, the fine-tuned and the
    interpolated model on the ID test set and on every shift, and writes a report. The same command again goes on
    where it was stopped; a finished run is not repeated.
    """
    console = Console(as_json, verbose)
    given = _tables(values)
    console.say("vlm finetune: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_finetune.devices import check_precision
    from vlm_finetune.finetuning import default_out
    from vlm_finetune.recipe_files import resolve
    from vlm_finetune.run import find_run
    from vlm_finetune.tracking import check_trackers
    from vlm_finetune.training_regions import check_regions

    resolved = resolve(recipe, assignments, given)
    folder = out or default_out(resolved)
    if dry_run:
        check_precision(resolved.model.precision)
        check_trackers(resolved.tracking.trackers)
        check_regions(resolved.method, resolved.data)
        if not overwrite:
            find_run(resolved, folder)
        show_plan(resolved, folder, console)
        return
    finished = run_recipe(resolved, folder, device, overwrite, console)
    if finished:
        show_verdict(*finished, console)


def _tables(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort the flags that were given into the tables of a recipe."""
    chosen = None if values["alpha"] is None else options.parse_alpha(values["alpha"])
    given: dict[str, dict[str, Any]] = {
        "model": {"spec": values["model"], "precision": values["precision"]},
        "lora": {"rank": values["lora_rank"]},
        "method": {"name": values["method"]},
        "data": {
            "name": values["data"],
            "root": None if values["data_root"] is None else str(values["data_root"]),
            "limit": values["limit"],
            "skip_unreadable": values["skip_unreadable"] or None,
            "regions": values["regions"],
        },
        "training": {key: values[key] for key in ("epochs", "batch_size", "lr", "seed")},
        "evaluation": {"alpha": chosen, "choose_alpha": True if values["alpha"] == "auto" else None},
        "tracking": {"trackers": list(values["trackers"]) or None},
    }
    return {table: {k: v for k, v in keys.items() if v is not None} for table, keys in given.items()}
