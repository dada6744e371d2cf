"""Make the tables and figures of right-reasons.md.

Call: `uv run python docs/results/right_reasons.py runs/results`.

Every number comes from a `vlm` command. Runs that are finished are not repeated, so a stopped call goes on.
"""

import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results_page import fill, markdown, spread, vlm

PAGE = Path(__file__).with_name("right-reasons.md")
FILES = Path(__file__).with_name("right-reasons")
METHODS = ("full", "linear-probe", "lp-ft", "flyp", "carot")
SEEDS = range(3)
GROUPS = {"": "ID", "natural": "natural shifts", "corruption": "corruptions"}
SHARES = {"accuracy": "accuracy", "pt": "PT", "ir": "IR", "validity": "validity"}
CHOICES: dict[str, Sequence[str]] = {
    "last layer, logit of the label": (),
    "all layers, logit of the label": ("--layers", "all"),
    "all layers, cosine of the label": ("--layers", "all", "--scalar", "cosine"),
    "published: last for zero-shot, all for trained heads": ("--preset", "reference"),
    "last layer, label against runner-up": ("--target", "contrast"),
    "gradient x input": ("--method", "input-gradient"),
}
MEASURES = {
    "mass": "mass", "normalised_mass": "mass / area, %", "pointing": "pointing", "rank": "rank",
    "average_precision": "AP",
}  # fmt: skip
Record = dict[str, Any]


def train(runs: Path) -> dict[str, list[Path]]:
    """Fine-tune with every method and seed, and return the runs of each method."""
    folder = runs / "reasons"
    seeds = ",".join(map(str, SEEDS))
    vlm("sweep", "--grid", f"method.name={','.join(METHODS)}", "--seeds", seeds, "--out", str(folder))
    return {method: [folder / f"{method}-seed{seed}" for seed in SEEDS] for method in METHODS}


def judged(specs: Sequence[str], out: Path, *choices: str) -> tuple[dict[str, list[Record]], list[Record]]:
    """Return the scores of models by spec, a row per data set, and the tests of the others against the first."""
    found = json.loads(vlm("rationale", *specs, "--out", str(out / "rationales"), "--json", *choices))
    rows = {spec: [row for row in found["rows"] if row["model"] == spec] for spec in specs}
    return rows, found.get("tests", [])


def half_way(runs: Sequence[Path], out: Path) -> list[str]:
    """Return the models half-way to those of runs; they are saved first."""
    specs = []
    for run in runs:
        folder = out / "reasons-half" / run.name
        if not (folder / "model.json").exists():
            half = ("--alpha", "0.5", "--alphas", "0.5", "--limit", "50", "--save", str(folder))
            vlm("interpolate", "tiny", f"run:{run}", *half, "--out", str(out / "reasons-half"), "--json")
        specs.append(f"file:{folder}")
    return specs


def group_means(rows: Sequence[Record], name: str) -> dict[str, float | None]:
    """Return a share of one model on ID data and as means over the sets of each group; None where one is undefined."""
    found: dict[str, float | None] = {}
    for group, label in GROUPS.items():
        # a corruption has a row per severity and, after them, one for their mean
        whole = [row for row in rows if row["group"] == group and row["severity"] is None]
        values = [row[name] for row in whole]
        found[label] = None if not values or None in values else statistics.fmean(values)
    return found


def over_seeds(values: Sequence[float | None]) -> str:
    """Return mean and deviation in per cent; a dash where one is undefined."""
    known = [value for value in values if value is not None]
    return spread(known) if len(known) == len(values) and known else "-"


def shares(scored: dict[str, list[list[Record]]]) -> str:
    """Return accuracy, PT, IR and validity of every model on every group of data sets."""
    rows = []
    for model, seeds in scored.items():
        for group in GROUPS.values():
            cells = [over_seeds([group_means(one, share)[group] for one in seeds]) for share in SHARES]
            rows.append([model, group, *cells])
    return markdown(["model", "data", *SHARES.values()], rows)


def measures(scored: dict[str, list[list[Record]]]) -> str:
    """Return the means of the measures on ID data beside the share of the image that is evidence."""
    rows = []
    for model, seeds in scored.items():
        id_rows = [next(row for row in one if not row["group"]) for one in seeds]
        cells = [over_seeds([row.get(f"mean_{name}") for row in id_rows]) for name in ("area", *MEASURES)]
        rows.append([model, *cells])
    return markdown(["model", "object area", *MEASURES.values()], rows)


def choices(models: dict[str, list[str]], out: Path) -> str:
    """Return PT of every model on ID data for each choice of what is explained."""
    rows = []
    for name, flags in CHOICES.items():
        scored, _ = judged([spec for specs in models.values() for spec in specs], out, "--sets", "id", *flags)
        rows.append([name, *(over_seeds([scored[spec][0]["pt"] for spec in specs]) for specs in models.values())])
    return markdown(["what is explained", *models], rows)


def tests(found: Sequence[Record]) -> str:
    """Return the differences to zero-shot on ID data, run by run, and on images that both models get right."""
    rows = []
    for test in found:
        both = test["mcnemar"]["both_right"]
        less_more = f"{both['only_first']} / {both['only_second']} of {both['n']}, p {both['p_value']:.2g}"
        name = test["model"].rpartition("/")[2]
        rows.append([name, *(difference(test[share]) for share in ("accuracy", "pt", "ir")), less_more])
    return markdown(["run", "accuracy", "PT", "IR", "valid only before / only after, where both are right"], rows)


def difference(change: Record | None) -> str:
    """Return a difference in points with its interval, bold where that does not contain zero."""
    if change is None:
        return "-"
    low, high = 100 * change["low"], 100 * change["high"]
    text = f"{100 * (change['after'] - change['before']):+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def main(out: Path) -> None:
    """Fill every `<!-- NAME -->...<!-- end -->` of the page."""
    runs = train(out)
    tuned = {"zero-shot": ["tiny"]} | {method: [f"run:{run}" for run in runs[method]] for method in METHODS}
    mixed = {method: half_way(runs[method], out) for method in METHODS}
    every = [spec for specs in (*tuned.values(), *mixed.values()) for spec in specs]
    rows, _ = judged(every, out)
    scored = {"zero-shot": [rows["tiny"]]}
    for method in METHODS:
        scored[f"{method}, fine-tuned"] = [rows[spec] for spec in tuned[method]]
        scored[f"{method}, interpolated"] = [rows[spec] for spec in mixed[method]]
    first = [specs[0] for specs in tuned.values()]
    _, against_zero_shot = judged([spec for specs in tuned.values() for spec in specs], out, "--sets", "id")
    vlm("rationale", *first, "--out", str(out / "rationales"), "--figures", str(FILES))
    shutil.copyfile(runs["flyp"][0] / "rationales" / "gallery.png", FILES / "gallery.png")
    tables = {"shares": shares(scored), "measures": measures(scored), "choices": choices(tuned, out)}
    fill(PAGE, tables | {"tests": tests(against_zero_shot)})


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/results"))
