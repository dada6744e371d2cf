"""Make the tables and figures of robust-fine-tuning.md.

Call: `uv run python docs/results/robust_fine_tuning.py runs/results`.

Every number comes from a `vlm` command. Runs that are finished are not repeated, so a stopped call goes on.
"""

import csv
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from results_page import fill, markdown, spread, vlm

from vlm_eval.score_table import score_table

PAGE = Path(__file__).with_name("robust-fine-tuning.md")
FILES = Path(__file__).with_name("robust-fine-tuning")
SEEDS = range(5)
FEW_ALPHAS = ("--set", "evaluation.alphas=[0.0,0.5,1.0]")
SWEEPS: dict[str, Sequence[str]] = {
    "methods": ("--grid", "method.name=full,linear-probe,lp-ft,flyp,carot"),
    "coefficients": (
        *("--method", "carot", "--grid", "method.orthogonality=0,0.05,0.2,0.8"),
        *("--grid", "method.distillation=0,0.5,1.5,4.5", *FEW_ALPHAS),
    ),
    "batch-size": ("--grid", "method.name=flyp,carot", "--grid", "training.batch_size=16,32,64,128,256", *FEW_ALPHAS),
    "soup-grid": (
        *("--method", "full", "--grid", "training.lr=3e-4,1e-3,3e-3"),
        *("--grid", "method.label_smoothing=0.0,0.1", *FEW_ALPHAS),
    ),
}
COLUMNS = {
    "ID": "ID",
    "mean of natural shifts": "natural shifts",
    "mean of corruptions": "corruptions",
    "mean of all shifts": "all shifts",
}
GROUPS = (("full", "linear-probe", "lp-ft", "flyp", "carot"), ("flyp", "carot"))
"""The first of each is what the others are compared with."""


def sweep(name: str, runs: Path) -> str:
    """Run a sweep, keep its table and figures beside the page, and return the table of means as Markdown."""
    vlm("sweep", *SWEEPS[name], "--seeds", ",".join(map(str, SEEDS)), "--out", str(runs / name))
    kept = FILES / name
    kept.mkdir(parents=True, exist_ok=True)
    for path in [runs / name / "table.csv", *(runs / name / "figures").glob("*.png")]:
        shutil.copyfile(path, kept / path.name)
    found: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    with (kept / "table.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            # the zero-shot model is the same in every group
            group = "" if line["model"] == "zero-shot" else line["name"]
            cells = found.setdefault((group, line["model"]), {})
            cells[line["column"], line["metric"]] = spread([float(value) for value in line["values"].split()])
    rows = (
        [group, model, *(f"{cells[column, 'accuracy']} / {cells[column, 'ece']}" for column in COLUMNS)]
        for (group, model), cells in found.items()
    )
    return markdown(["runs", "model", *COLUMNS.values()], rows)


def paired_tests(runs: Path) -> str:
    """Return differences between methods with their intervals, fine-tuned and half-way; keep the scatter plots."""
    rows = []
    for methods in GROUPS:
        folders = [str(runs / "methods" / f"{method}-seed{seed}") for method in methods for seed in SEEDS]
        for alpha, model in ((1.0, "fine-tuned"), (0.5, "interpolated")):
            figures = ("--figures", str(runs / "scatter")) if methods is GROUPS[0] and alpha == 0.5 else ()
            document = json.loads(vlm("compare", *folders, "--alpha", str(alpha), "--json", *figures))
            for comparison in document["comparisons"]:
                tests = {test["data"]: test for test in comparison["tests"]}
                cells = [comparison["tests"][0], *(tests[column] for column in COLUMNS if column in tests)]
                for metric, label in (("accuracy", "accuracy"), ("ece", "ECE")):
                    names = f"{comparison['second']} against {comparison['first']}"
                    rows.append([names, f"{model}, {label}", *(_difference(test[metric]) for test in cells)])
    (FILES / "methods").mkdir(parents=True, exist_ok=True)
    for name in ("standings.csv", "means.png"):
        shutil.copyfile(runs / "scatter" / name, FILES / "methods" / name)
    return markdown(["methods", "model", *COLUMNS.values()], rows)


def _difference(change: dict[str, float]) -> str:
    ends = 100 * change["low"], 100 * change["high"]
    text = f"{100 * (change['after'] - change['before']):+.1f} [{ends[0]:+.1f}, {ends[1]:+.1f}]"
    return f"**{text}**" if ends[0] > 0 or ends[1] < 0 else text


def soups(runs: Path) -> str:
    """Make the soups of every seed of the grid and return their scores as Markdown."""
    found: dict[str, dict[str, list[float]]] = {}
    sizes = []
    for seed in SEEDS:
        specs = [f"run:{path}" for path in sorted((runs / "soup-grid").glob(f"*-seed{seed}"))]
        soup = json.loads(vlm("soup", *specs, "--out", str(runs / "soups"), "--json"))
        sizes.append(len(soup["ingredients"]))
        table = score_table(soup["rows"])
        labels = {column.key: column.label for column in table.columns}
        for line in table.lines:
            name = line.model if line.model.startswith("soup-") else "best single model on ID validation"
            for key, cell in line.cells.items():
                for metric in ("accuracy", "ece"):
                    found.setdefault(name, {}).setdefault(f"{labels[key]} {metric}", []).append(cell[metric].value)
    rows = (
        [name, *(f"{spread(cells[f'{column} accuracy'])} / {spread(cells[f'{column} ece'])}" for column in COLUMNS)]
        for name, cells in found.items()
    )
    note = f"Ingredients of the greedy soups, by seed: {', '.join(map(str, sizes))} of 6."
    return f"{markdown(['model', *COLUMNS.values()], rows)}\n\n{note}"


def main(runs: Path) -> None:
    """Fill every `<!-- NAME -->...<!-- end -->` of the page."""
    tables = {name: sweep(name, runs) for name in SWEEPS} | {"tests": paired_tests(runs), "soups": soups(runs)}
    fill(PAGE, tables)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/results"))
