"""`vlm evaluate`: predictions, accuracy and calibration of models on a benchmark and its shifts."""

from pathlib import Path

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.data_choice import DataChoice, data_choice_options
from vlm_cli.verdict import show_scores, worst_group_note

EPILOG = options.examples(
    "vlm evaluate tiny",
    "vlm evaluate tiny run:runs/digits-tiny-full-seed0 --json",
    "vlm evaluate openclip:ViT-B-32/laion2b_s34b_b79k --data folder:photos",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@data_choice_options
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True, help="Images at a time.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of weights and images.",
)
@options.device_option
@options.evaluations_option
@options.results_option
@options.output_options
def command(
    specs: tuple[str, ...],
    data: DataChoice,
    batch_size: int,
    precision: str,
    device: str | None,
    out: Path,
    results_file: Path,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Evaluate models on a benchmark and all its shifts.

    A model without a head gets the zero-shot head of the benchmark's class names and templates. Predictions are written
    first; an interrupted evaluation goes on where it was stopped.
    """
    console = Console(as_json, verbose)
    console.say("vlm evaluate: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_eval import results
    from vlm_eval.evaluation import evaluate, predictions_folder
    from vlm_eval.score_table import score_table
    from vlm_finetune.devices import processes
    from vlm_models.zero_shot import load_classifier

    with processes(device) as state:
        benchmark = data.load(specs, console)
        rows = []
        for spec in dict.fromkeys(specs):
            console.say(f"evaluating {spec} on {benchmark.name}")
            model = load_classifier(spec, benchmark.class_names, benchmark.templates, str(state.device), precision)
            folder = predictions_folder(out, spec, benchmark, precision)
            rows += evaluate(model, benchmark, folder, batch_size=batch_size, progress=console.progress)
        if state.is_main_process:
            results.append(results_file, rows)
    console.document({"rows": rows})
    rescaled = any("temperature" in row["metrics"] for row in rows)
    notes = ["ECE/T: after one temperature per model, fitted on ID validation"] if rescaled else []
    show_scores(
        score_table(rows),
        console,
        f"{benchmark.name}: accuracy and ECE (15 bins) in %, 95 % intervals below",
        "\n".join([*notes, *worst_group_note(rows)]),
        ("accuracy", "worst_group_accuracy", "ece", "ece_rescaled"),
    )
    console.text(f"predictions  {out}\nresults      {results_file}")
