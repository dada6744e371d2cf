"""`vlm soup`: means of models that were fine-tuned from one start: uniform, greedy and learned."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.data_choice import DataChoice, data_choice_options
from vlm_cli.verdict import show_scores

if TYPE_CHECKING:
    from vlm_eval.merging.soup import Soup

EPILOG = options.examples(
    "vlm soup run:runs/digits-tiny-full-seed0 run:runs/digits-tiny-full-seed1",
    "vlm soup tiny run:runs/digits-tiny-full-seed0 --method uniform --save soup --json",
    "vlm soup tiny run:runs/digits-tiny-full-seed0 --method learned",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option(
    "--method",
    type=click.Choice(["greedy", "uniform", "learned"]),
    default="greedy",
    show_default=True,
    help="The soup to recommend and save: models that help on ID validation, all alike, or all with learned shares.",
)
@click.option("--per-tensor", is_flag=True, help="Of a learned soup: a share for every tensor, not one for all.")
@data_choice_options
@click.option("--save", type=click.Path(path_type=Path), help="Write the soup into this folder.")
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True, help="Images at a time.")
@options.device_option
@options.evaluations_option
@options.results_option
@options.output_options
def command(
    specs: tuple[str, ...],
    method: str,
    per_tensor: bool,
    data: DataChoice,
    save: Path | None,
    batch_size: int,
    device: str | None,
    out: Path,
    results_file: Path,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Average the weights of models that were fine-tuned from one start (model soups).

    Greedy: from the best model on ID validation on, every next one is kept if the mean becomes strictly better there.
    Learned: shares of the models by gradient descent on ID validation; all models are in memory at once.
    The soup, the uniform one and the best single model are then evaluated on ID test and shifts. But for learned soups
    models are read one at a time.
    """
    if per_tensor and method != "learned":
        raise click.UsageError(f"--per-tensor is about learned shares; expected --method learned, not {method}.")
    console = Console(as_json, verbose)
    console.say("vlm soup: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_eval import results
    from vlm_eval.merging.soup import SoupEvaluation
    from vlm_finetune.devices import processes
    from vlm_finetune.run import check_save_folder
    from vlm_models import save_model
    from vlm_models.zero_shot import load_classifier

    if save:
        check_save_folder(save, specs)
    with processes(device) as state:
        benchmark = data.load(specs, console)
        evaluation = SoupEvaluation(
            specs,
            lambda spec: load_classifier(spec, benchmark.class_names, benchmark.templates, str(state.device)),
            benchmark,
            out,
            batch_size=batch_size,
            progress=console.progress,
        )
        soup = evaluation.make(method, per_tensor)
        if state.is_main_process:
            results.append(results_file, soup.rows)
            if save:
                save_model(soup.model, save, soup=method, ingredients=list(soup.ingredients))
    _show(soup, method, save, console)
    console.text(f"predictions  {out}\nresults      {results_file}" + (f"\nmodel        file:{save}" if save else ""))


def _show(soup: "Soup", method: str, save: Path | None, console: Console) -> None:
    from vlm_eval.score_table import score_table

    candidates = dict(soup.tried)
    console.document(
        {
            "method": method,
            "ingredients": list(soup.ingredients),
            "best": soup.best,
            "held_out": soup.held_out,
            "shares": dict(soup.shares),
            "scale": soup.scale,
            "tried": [{"model": spec, "accuracy": accuracy} for spec, accuracy in soup.tried],
            "rows": soup.rows,
            "saved": None if save is None else str(save),
        }
    )
    lines = [
        [
            spec,
            f"{100 * accuracy:.1f}",
            f"{100 * candidates[spec]:.1f}" if spec in candidates else "-",
            f"{100 * soup.shares[spec]:.1f} %" if soup.shares else "yes" if spec in soup.ingredients else "no",
        ]
        for spec, accuracy in soup.held_out.items()
    ]
    if lines:
        console.table("ID validation accuracy in %", ["model", "alone", "added", f"in {method}"], lines)
    show_scores(score_table(soup.rows), console, "accuracy and ECE (15 bins) in %, 95 % intervals below")
