"""From a recipe to a finished run: what `vlm finetune` does once and `vlm sweep` many times."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_cli.console import Console
from vlm_cli.run_rationales import explain_run

if TYPE_CHECKING:
    from vlm_data.benchmark import Benchmark
    from vlm_eval.evaluation import Verdict
    from vlm_finetune import Recipe, Run
    from vlm_finetune.tracking import Tracking
    from vlm_models.classifier import Classifier


def run_recipe(
    recipe: "Recipe", out: Path, device: str | None, overwrite: bool, console: Console
) -> "tuple[Run, Verdict] | None":
    """Walk through one run; every line is one call into a library.

    A finished run is not repeated, an unfinished one goes on.

    Returns:
        The run and its verdict; None on all processes but the main one.
    """
    from vlm_eval import results
    from vlm_eval.evaluation import predict_run, read_verdict
    from vlm_eval.report import write_figures, write_report
    from vlm_finetune.devices import processes
    from vlm_finetune.finetuning import load_data, prepare_run, zero_shot_model
    from vlm_finetune.run import find_run
    from vlm_finetune.tracking import open_tracking

    with processes(device) as state, contextlib.ExitStack() as opened:
        run, tracking = None if overwrite else find_run(recipe, out), None
        if run and run.is_done:
            console.say(f"{run.path} is finished; these are its results. Use --overwrite to run it again.")
        else:
            console.say(f"loading {recipe.data.name} and {recipe.model.spec}")
            benchmark = load_data(recipe)
            console.skipped(benchmark.skipped)
            console.notes(benchmark.notes)
            zero_shot = zero_shot_model(recipe, benchmark, str(state.device))
            run = prepare_run(recipe, out, overwrite)  # now: a misspelt name above leaves no directory
            tracking = opened.enter_context(open_tracking(recipe, run.path))
            if not run.is_trained:
                _train(recipe, run, benchmark, zero_shot, str(state.device), tracking, console)
            predict_run(run, benchmark, zero_shot, progress=console.progress)
            state.wait_for_everyone()  # the first process writes what the others read: which alpha is the best
            explain_run(run, benchmark, zero_shot, console)
        if not state.is_main_process:
            return None
        verdict = read_verdict(run)
        if not run.is_done:
            results.append(run.path.parent / "results.jsonl", verdict.rows)
            if recipe.evaluation.report:
                console.say("writing figures and report")
                write_figures(run.path, verdict.rows)
                write_report(run.path, verdict.rows)
            if tracking:
                tracking.scores(verdict.compared())
            run.mark_done()
    return run, verdict


def _train(
    recipe: "Recipe",
    run: "Run",
    benchmark: "Benchmark",
    zero_shot: "Classifier",
    device: str,
    tracking: "Tracking",
    console: Console,
) -> None:
    """Train, classify some shifted images after every epoch, and tell what went wrong on the way."""
    from vlm_eval.tracking import ShiftTracker
    from vlm_finetune import finetune
    from vlm_finetune.run import LOG
    from vlm_finetune.run_log import read_log

    console.say(f"fine-tuning with {recipe.method} on {device}; everything goes to {run.path}")
    tracker = ShiftTracker(benchmark, zero_shot, recipe.evaluation.track, device)
    finetune(
        recipe,
        run.path,
        benchmark=benchmark,
        after_epoch=tracker,
        start_facts={"shifts": tracker.start},
        tracking=tracking,
        progress=console.progress,
    )
    for name in sorted(tracker.collapsed):
        console.say(f"warning: on {name} more than half of the zero-shot ability was lost during training")
    for event in read_log(run.path / LOG):
        if event["event"] == "warning":
            console.say(f"warning: {event['text']}")
