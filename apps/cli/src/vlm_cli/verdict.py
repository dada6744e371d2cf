"""Showing what a run found: the summary table, or the JSON document."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlm_cli.console import Console

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_eval.evaluation import Verdict
    from vlm_eval.rows import Row
    from vlm_eval.score_table import Column, Line, ScoreTable
    from vlm_finetune import Recipe, Run

_COLUMNS_AT_ONCE = 7
"""Data columns side by side, so that a table fits a terminal of 100 characters."""
_LABELS = {
    "accuracy": "acc",
    "ece": "ECE",
    "ece_rescaled": "ECE/T",
    "worst_group_accuracy": "worst",
    "pt": "PT",
    "ir": "IR",
}
_WORST = "worst: accuracy of the worst group, a class among the images that share a value of an attribute"
_REASONS = "PT: right answers whose relevance falls on the evidence; IR: answers on valid evidence that are right"


def show_plan(recipe: "Recipe", out: "Path", console: Console) -> None:
    """Tell what a call would do: data and model are loaded, nothing is written."""
    from vlm_finetune.finetuning import base_encoder, load_data
    from vlm_models.interface import parameter_count

    benchmark = load_data(recipe)
    parameters = parameter_count(base_encoder(recipe))
    sizes = {"train": len(benchmark.train), "val": len(benchmark.val), "test": len(benchmark.test)}
    plan = {
        "run": str(out),
        "recipe": recipe.tables(),
        "parameters": parameters,
        "classes": len(benchmark.class_names),
        "images": sizes,
        "shifts": [shift.name for shift in benchmark.shifts],
    }
    console.document(plan)
    counts = ", ".join(f"{n} {split}" for split, n in sizes.items())
    console.text(
        f"# {recipe.model.spec}: {parameters:,} parameters\n"
        f"# {recipe.data.name}: {len(benchmark.class_names)} classes, {counts} images, {len(benchmark.shifts)} shifts\n"
        f"# would go to {out}; nothing was written\n\n{recipe.to_toml()}"
    )


def show_verdict(run: "Run", verdict: "Verdict", console: Console) -> None:
    """Print the summary table and the paths of what was written."""
    from vlm_eval.summary import summary_table

    compared = verdict.compared()
    console.document({"run": str(run.path), "alpha": verdict.alpha, "rows": compared, "curve": verdict.rows})
    table = summary_table(compared, verdict.alpha)
    rule = "best ID validation accuracy" if run.recipe.evaluation.choose_alpha else "set in advance"
    alphas = f"interpolated: (1 - alpha) zero-shot + alpha fine-tuned, alpha = {verdict.alpha:g} ({rule})"
    explained = any("validity" in row["metrics"] for row in compared)
    notes = [alphas, *worst_group_note(compared), *([_REASONS] if explained else [])]
    show_scores(
        table,
        console,
        title=f"{run.recipe.method} on {run.recipe.data.name}: accuracy and ECE (15 bins) in %, 95 % intervals below",
        caption="\n".join(notes),
        metrics=("accuracy", "worst_group_accuracy", "ece", "pt", "ir"),
    )
    if run.recipe.evaluation.report:
        console.text(f"report       {run.path / 'report.html'}")
    console.text(f"model        {run.spec}")
    console.text(f"predictions  {run.path / 'predictions'}")
    if explained:
        console.text(f"rationales   {run.path / 'rationales'}")
    console.text(f"results      {run.path.parent / 'results.jsonl'}")


def worst_group_note(rows: "Sequence[Row]") -> list[str]:
    """Return the line that says what the worst group is, where any row tells one."""
    return [_WORST] if any("worst_group_accuracy" in row["metrics"] for row in rows) else []


def show_scores(
    table: "ScoreTable",
    console: Console,
    title: str,
    caption: str = "",
    metrics: Sequence[str] = ("accuracy", "ece"),
) -> None:
    """Print a table of scores, a few columns at a time."""
    starts = range(0, len(table.columns), _COLUMNS_AT_ONCE)
    parts = [table.columns[start : start + _COLUMNS_AT_ONCE] for start in starts]
    for position, columns in enumerate(parts):
        rows = [
            [_model_label(line) if metric == metrics[0] else "", _LABELS.get(metric, metric), *cells]
            for line in table.lines
            for metric in metrics
            if set(cells := _cells(line, columns, metric)) != {"-"}
        ]
        last = position == len(parts) - 1
        headings = ["", "", *[column.label for column in columns]]
        console.table(title if position == 0 else "", headings, rows, caption if last else "")


def show_alphas(rows: "Sequence[Row]", chosen: float, console: Console) -> None:
    """Print one line per alpha: accuracy and ECE on ID data and on the means over shifts."""
    from vlm_eval.score_table import MEAN, score_table

    table = score_table(rows)
    columns = [column for column in table.columns if column.group in ("id", MEAN)]
    headings = [f"{column.label} {name}" for column in columns for name in ("acc", "ECE")]
    lines = [
        [
            f"{line.alpha:g}" + (" *" if line.alpha == chosen else ""),
            *[
                cell
                for column in columns
                for cell in (*_cells(line, [column], "accuracy"), *_cells(line, [column], "ece"))
            ],
        ]
        for line in table.lines
        if line.alpha is not None
    ]
    console.table(
        "accuracy and ECE (15 bins) in %, 95 % intervals below", ["alpha", *headings], lines, f"* chosen: {chosen:g}"
    )
    show_choices(rows, chosen, console)


def show_choices(rows: "Sequence[Row]", fixed: float, console: Console) -> None:
    """Print what an alpha, the one chosen on ID validation and the oracle of every test set reach."""
    from vlm_eval.alpha_choice import alpha_choices

    choices = alpha_choices(rows, fixed)
    lines = [
        (one.label, *[_percent(value) for value in (one.fixed, one.held_out, one.oracle)], f"{one.oracle_alpha:g}",
         _percent(one.gap_fixed), _percent(one.gap_held_out))
        for one in choices.columns
    ]  # fmt: skip
    held_out = "-" if choices.held_out is None else f"{choices.held_out:g}"
    heads = ("data set", f"alpha {fixed:g}", f"ID val: {held_out}", "oracle", "its alpha", "gap", "gap ID val")
    caption = "oracle: the best alpha on that very test set. It uses the test labels, so it is no choice; "
    caption += "gap: points that an alpha leaves to it."
    console.table("which alpha? accuracy in %", heads, lines, caption)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _model_label(line: "Line") -> str:
    return line.model if line.alpha in (None, 0, 1) else f"{line.model}\nalpha {line.alpha:g}"


def _cells(line: "Line", columns: Sequence["Column"], metric: str) -> list[str]:
    from vlm_eval.comparing.row_tables import is_share

    scale, digits, ends = (100, 1, 0) if is_share(metric) else (1, 3, 2)
    texts = []
    for column in columns:
        score = line.cells.get(column.key, {}).get(metric)
        if score is None:
            texts.append("-")
        elif score.low is None or score.high is None:
            texts.append(f"{scale * score.value:.{digits}f}")
        else:
            low, high = scale * score.low, scale * score.high
            texts.append(f"{scale * score.value:.{digits}f}\n{low:.{ends}f}-{high:.{ends}f}")
    return texts
