"""`vlm interpolate`: WiSE-FT between two models, all alphas in one pass over the data."""

import dataclasses
from pathlib import Path
from typing import Any

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.data_choice import DataChoice, data_choice_options
from vlm_cli.mixing import mixing_options, read_mixing
from vlm_cli.verdict import show_alphas

EPILOG = options.examples(
    "vlm interpolate tiny run:runs/digits-tiny-full-seed0",
    "vlm interpolate tiny run:runs/digits-tiny-full-seed0 --alphas 0,0.25,0.5,0.75,1 --alpha auto --save mixed",
    "vlm interpolate tiny run:runs/digits-tiny-full-seed0 --fisher --fisher-samples 64",
    "vlm interpolate tiny run:runs/digits-tiny-full-seed0 --ensemble outputs --alphas 0,0.5,1",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("zero_shot", metavar="ZEROSHOT")
@click.argument("fine_tuned", metavar="FINETUNED")
@data_choice_options
@click.option("--alphas", help="Weights of the fine-tuned model, separated by commas.  [default: 0,0.1,...,1]")
@click.option(
    "--alpha",
    default="0.5",
    show_default=True,
    help="The weight to recommend and save, or auto: best on ID validation.",
)
@mixing_options
@click.option("--save", type=click.Path(path_type=Path), help="Write the model at the chosen alpha into this folder.")
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True, help="Images at a time.")
@options.device_option
@options.evaluations_option
@options.results_option
@options.output_options
def command(
    zero_shot: str,
    fine_tuned: str,
    data: DataChoice,
    alphas: str | None,
    alpha: str,
    save: Path | None,
    batch_size: int,
    device: str | None,
    out: Path,
    results_file: Path,
    as_json: bool,
    verbose: bool,
    debug: bool,
    **rule: Any,
) -> None:
    """Mix a zero-shot and a fine-tuned model (WiSE-FT), all weights in one pass over the data.

    theta(alpha) = (1 - alpha) zero-shot + alpha fine-tuned. Every image is decoded once for all alphas.
    A trained head is mixed, too; a zero-shot head is built again from the mixed text tower. Other rules: --fisher,
    --layers, and --ensemble, which mixes outputs and is no model of its own.
    """
    console = Console(as_json, verbose)
    chosen = options.parse_alpha(alpha)
    mixing = read_mixing(rule, bool(save))
    grid = sorted(set(options.parse_alphas(alphas) + ([] if chosen is None else [chosen])))
    console.say("vlm interpolate: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_eval import results
    from vlm_eval.alpha_choice import alpha_choices
    from vlm_eval.evaluation import choose_alpha, predictions_folder
    from vlm_eval.sweep import Interpolation
    from vlm_finetune.devices import processes
    from vlm_finetune.run import check_save_folder
    from vlm_models import save_model
    from vlm_models.zero_shot import load_classifier

    if save:
        check_save_folder(save, (zero_shot, fine_tuned))
    with processes(device) as state:
        benchmark = data.load((zero_shot, fine_tuned), console)
        words = (benchmark.class_names, benchmark.templates)
        ends = (
            load_classifier(zero_shot, *words, str(state.device)),
            load_classifier(fine_tuned, *words, str(state.device)),
        )
        mixture = mixing.mixture(ends, benchmark, out, console)
        names = [zero_shot, fine_tuned, *([mixture.key] if mixture.key else [])]
        folder = predictions_folder(out, "+".join(names), benchmark)
        how = {"batch_size": batch_size, "progress": console.progress}
        rows = mixing.evaluate(ends, benchmark, grid, folder, mixture, **how)
        chosen = choose_alpha(rows) if chosen is None else chosen
        if state.is_main_process:
            results.append(results_file, rows)
            if save:
                facts = {"alpha": chosen, "ends": [zero_shot, fine_tuned]}
                facts |= {"layers": mixing.layers} if mixing.layers else {"fisher": True} if mixing.fisher else {}
                save_model(Interpolation(*ends, [], mixture).model(chosen), save, **facts)
    choices = dataclasses.asdict(alpha_choices(rows, 0.5 if alpha == "auto" else chosen))
    saved = None if save is None else str(save)
    console.document({"rows": rows, "alpha": chosen, "choices": choices, "saved": saved})
    show_alphas(rows, chosen, console)
    if mixing.ensemble:
        console.text("two models run for every image: twice the cost of an interpolated one, and not WiSE-FT")
    console.text(
        f"predictions  {folder}\nresults      {results_file}" + (f"\nmodel        file:{save}" if save else "")
    )
