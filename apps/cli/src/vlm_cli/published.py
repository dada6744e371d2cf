"""Showing published scores, and those of a run beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_eval.published_scores import Beside, PublishedLine

_HARMLESS = ("data.root ", "evaluation.")
"""Settings that do not change the score of a given model."""
_TITLES = {
    "accuracy": "published accuracy in %",
    "batch_averaged_ece": "published ECE (10 bins, mean over batches of 512)",
}


def scores_beside(name: str, folder: Path | None) -> "tuple[list[Beside], list[str]]":
    """Return what is published for a shipped recipe, with a run beside it, and in what the run differs from it."""
    from vlm_eval.published_scores import beside
    from vlm_finetune.recipe_files import resolve
    from vlm_finetune.run import differing_keys, open_run

    recipe = resolve(name)
    run = open_run(folder) if folder else None
    changed = differing_keys(recipe, run.recipe) if run else []
    return beside(recipe, run), [key for key in changed if not key.startswith(_HARMLESS)]


def published_document(found: "list[Beside]") -> list[dict[str, Any]]:
    """Return the lines for `--json`; fractions."""
    return [
        {
            "source": line.source,
            "secured": line.secured,
            "metric": line.metric,
            "method": line.method,
            "alpha": line.alpha,
            "rule": line.rule,
            "published": dict(line.values) | {"mean of shifts": round(line.mean, 6)},
            "printed_mean": line.printed_mean,
            "remarks": line.remarks,
            "own": dict(pair.own),
            "difference": pair.differences,
        }
        for pair in found
        for line in [pair.published]
    ]


def show_published(found: "list[Beside]", console: Console) -> None:
    """Print one table per source and metric, each with its remarks."""
    from vlm_eval.published_scores import MEAN

    sources = dict.fromkeys((pair.published.source, pair.published.metric) for pair in found)
    for source, metric in sources:
        pairs = [p for p in found if (p.published.source, p.published.metric) == (source, metric)]
        columns = [*pairs[0].published.values, MEAN]
        rows = []
        for pair in pairs:
            line = pair.published
            rows.append([_label(line), *_cells({**line.values, MEAN: line.mean}, columns, line)])
            if pair.own:
                rows.append(["  yours", *_cells(pair.own, columns, line)])
                rows.append(["  difference", *_cells(pair.differences, columns, line, sign="+")])
        remarks = _remarks([pair.published for pair in pairs])
        title = f"{_TITLES[metric]}: {source}"
        console.table(title, ["", *[name.rpartition("/")[2] for name in columns]], rows, "\n".join(remarks))


def _remarks(lines: "list[PublishedLine]") -> list[str]:
    """Return how sure the numbers are, once if all are alike, and what else is to be known about a line."""
    alike = len({line.secured for line in lines}) == 1
    shared = [f"numbers: {lines[0].secured}"] if alike else []
    return shared + [
        f"{_label(line)}: {remark}" for line in lines for remark in (*(() if alike else (line.secured,)), *line.remarks)
    ]


def _label(line: "PublishedLine") -> str:
    if line.method is None:
        return "zero-shot"
    if line.rule:
        return f"{line.method}, alpha {line.rule}"
    return line.method if line.alpha == 1.0 else f"{line.method}, alpha {line.alpha:g}"


def _cells(values: Mapping[str, float], columns: list[str], line: "PublishedLine", sign: str = "") -> list[str]:
    scale = 100 if line.metric == "accuracy" else 1
    return [f"{scale * values[name]:{sign}.{line.digits}f}" if name in values else "-" for name in columns]
