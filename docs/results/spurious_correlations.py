"""Make the tables and figures of spurious-correlations.md: the closed loop on digits.

Call: `uv run python docs/results/spurious_correlations.py runs/results`.

Runs that are finished are not repeated, so a stopped call goes on.
"""

import dataclasses
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from results_page import fill, markdown
from spurious_runs import (
    POOLING,
    SEEDS,
    STANDARD,
    VALUES,
    Point,
    accuracies,
    build,
    records,
    same_regions,
    search,
    train,
)

from vlm_data.controlled import load_setting
from vlm_eval.comparing.changes import Change
from vlm_eval.score_table import Score
from vlm_eval.spurious.figures import write_discovery_figure, write_mitigation_figure
from vlm_eval.spurious.summaries import (
    MethodSummary,
    SettingRecord,
    discovery_summaries,
    method_summaries,
    valid_records,
)

PAGE = Path(__file__).with_name("spurious-correlations.md")
FILES = Path(__file__).with_name("spurious-correlations")
THRESHOLDS = (None, 0.1, 0.2, 0.3, 0.4)
AWARE = {"method.name": "region-aware"}
MEAN, SUM = {"method.reduction": "mean"}, {"method.reduction": "sum"}
SHARED, SEPARATE = {"method.pooling": POOLING}, {"method.pooling": "patch"}
FOUND, TRUE = {"data.regions": "found"}, {"data.regions": "true"}
METHODS: Mapping[str, Point] = {
    "upsampled": {"method.name": "upsampled", **FOUND},
    "VL-ERM": {"method.name": "vl-erm", **FOUND},
    "VL-GDRO": {"method.name": "vl-gdro", **FOUND},
    "Spurious-Aware": {"method.name": "spurious-aware", **FOUND},
    "region-uniform, found, shared": {"method.name": "region-uniform", **FOUND, **SHARED},
    "region-aware, mean, found, shared": {**AWARE, **MEAN, **FOUND, **SHARED},
    "region-aware, sum, found, shared": {**AWARE, **SUM, **FOUND, **SHARED},
    "region-aware, mean, found, separate": {**AWARE, **MEAN, **FOUND, **SEPARATE},
    "region-aware, sum, found, separate": {**AWARE, **SUM, **FOUND, **SEPARATE},
    "region-aware, mean, true, shared": {**AWARE, **MEAN, **TRUE, **SHARED},
    "region-aware, sum, true, shared": {**AWARE, **SUM, **TRUE, **SHARED},
    "region-aware, mean, true, separate": {**AWARE, **MEAN, **TRUE, **SEPARATE},
    "region-aware, sum, true, separate": {**AWARE, **SUM, **TRUE, **SEPARATE},
}
"""Trained on every valid setting and seed."""
PARTS = {"all": None, "P@10 > 0.6": 0.6, "P@10 > 0.8": 0.8}
"""Parts of the runs, and the Precision@10 of discovery that they exceed."""
ACCURACIES = {
    "image_overall": "images",
    "image_worst_group": "worst group",
    "region_overall": "regions",
    "region_worst_group": "worst region group",
}


def standard_runs(settings: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Fine-tune on every setting as usual, search every run, and return the runs by setting."""
    found: dict[Path, Path] = {}
    for seed in SEEDS:
        own = {one.name: one for one in settings if load_setting(one).seed == seed}
        points = {name: {"method.name": STANDARD, "data.name": f"spurious:{one}"} for name, one in own.items()}
        found |= {own[name]: run for name, run in train(points, seed, out / "standard").items()}
    search(list(found.values()))
    return found


def mitigated(valid: Mapping[Path, Path], out: Path) -> dict[tuple[Path, str], Path]:
    """Fine-tune once more on every valid setting with every method, and return the runs."""
    found: dict[tuple[Path, str], Path] = {}
    for seed in SEEDS:
        points: dict[str, Point] = {}
        names: dict[tuple[Path, str], str] = {}
        for setting, run in valid.items():
            if load_setting(setting).seed == seed:
                for method, name, point in planned(setting, run):
                    points[name] = point
                    names[setting, method] = name
        trained = train(points, seed, out / "mitigated")
        found |= {key: trained[name] for key, name in names.items()}
    return found


def planned(setting: Path, run: Path) -> Iterator[tuple[str, str, Point]]:
    """Yield method, name of the run and its settings; one run for found and true regions where these are the same."""
    tables = {"found": run / "spurious" / "train-regions.parquet", "true": setting / "regions.parquet"}
    alike = tables["found"].exists() and same_regions(tables["found"], tables["true"])
    for method, point in METHODS.items():
        source = "found" if alike else point["data.regions"]
        if tables[source].exists():
            words = method.replace(point["data.regions"], source)
            name = f"{setting.name}-{''.join(c if c.isalnum() else '-' for c in words)}"
            yield method, name, {**point, "data.name": f"spurious:{setting}", "data.regions": str(tables[source])}


def judged(settings: Sequence[Path], out: Path) -> list[SettingRecord]:
    """Walk through the loop and return what every seed of every setting gave, methods included."""
    standard = standard_runs(settings, out)
    known = {(one.setting, one.seed): one for one in records(standard)}
    valid = {(one.setting, one.seed) for one in valid_records(list(known.values()), 0.1)}
    place = {(f"{told.spurious_class}-v{told.v:g}", told.seed): one for one in settings for told in [load_setting(one)]}
    runs = {(place[key], STANDARD): standard[place[key]] for key in sorted(valid)}
    runs |= mitigated({place[key]: standard[place[key]] for key in sorted(valid)}, out)
    pairs = list(dict.fromkeys((setting, run) for (setting, _), run in runs.items()))  # found and true may be one run
    scores = dict(zip(pairs, accuracies(pairs), strict=True))
    return [
        dataclasses.replace(
            record,
            methods={name: scores[setting, run] for (setting, name), run in runs.items() if setting == place[key]},
        )
        for key, record in known.items()
    ]


def percent(score: Score | None) -> str:
    """Return a mean with its interval."""
    if score is None or score.low is None or score.high is None:
        return "-"
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def share(value: float | None) -> str:
    """Return a share in per cent."""
    return "-" if value is None else f"{100 * value:.1f}"


def discovery_table(found: Sequence[SettingRecord]) -> str:
    """Return what discovery reached by learnt strength."""
    rows = [
        [
            "all settings with V > 0" if one.threshold is None else f"gaps above {100 * one.threshold:.0f} points",
            *(str(one.sets), share(one.share), percent(one.precision), share(one.random)),
            *(share(one.found), share(one.class_found)),
        ]
        for one in discovery_summaries(found, THRESHOLDS)
    ]
    return markdown(["", "settings", "share, %", "P@10", "random", "anything found", "planted class found"], rows)


def of_value(found: Sequence[SettingRecord], value: float) -> list[SettingRecord]:
    """Return the records with one Cramer's V."""
    return [one for one in found if one.setting.endswith(f"-v{value:g}")]


def judged_methods(found: Sequence[SettingRecord], precision: float | None = None) -> list[MethodSummary]:
    """Return what methods gave on valid settings, where discovery was more precise than asked for."""
    return method_summaries(found, STANDARD, threshold=0.1, precision=precision)


def strength_table(found: Sequence[SettingRecord]) -> str:
    """Return by Cramer's V how many settings are valid, and what was found in them."""
    rows = []
    for value in VALUES:
        own = of_value(found, value)
        (told,) = discovery_summaries(own, [None])
        valid = len({one.setting for one in valid_records(own, 0.1)})
        cells = (percent(told.precision), share(told.found), share(told.class_found))
        rows.append([f"{value:g}", f"{valid} of {told.sets}", *cells])
    return markdown(["V", "valid", "P@10", "anything found", "planted class found"], rows)


def gain(change: Change | None) -> str:
    """Return a difference with its interval."""
    if change is None:
        return ""
    return f" ({100 * change.difference:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}])"


def method_table(summaries: Sequence[MethodSummary]) -> str:
    """Return the accuracies of every method, and how they differ from standard fine-tuning."""
    rows = []
    for one in summaries:
        cells = [
            (f"{100 * one.means[name].value:.1f}" if name in one.means else "-") + gain(one.differences.get(name))
            for name in ACCURACIES
        ]
        rows.append([one.method, str(one.records), *cells])
    return markdown(["method", "runs", *ACCURACIES.values()], rows)


def part_table(parts: Mapping[str, Sequence[MethodSummary]]) -> str:
    """Return overall and worst-group accuracy of every method on parts of the runs."""
    known = {part: {one.method: one for one in summaries} for part, summaries in parts.items()}
    rows = []
    for method in dict.fromkeys(name for found in known.values() for name in found):
        cells = []
        for one in [found.get(method) for found in known.values()]:
            means = [f"{100 * one.means[name].value:.1f}" for name in tuple(ACCURACIES)[:2]] if one else ["-"]
            cells += [str(one.records) if one else "0", " / ".join(means)]
        rows.append([method, *cells])
    return markdown(["method", *[word for part in known for word in ("runs", part)]], rows)


def drawn(summaries: Sequence[MethodSummary]) -> list[MethodSummary]:
    """Return what is in the figure: no method twice for the same regions, nor one far from all others."""
    kept = [one for one in summaries if ", true" not in one.method and one.method != "Spurious-Aware"]
    return [dataclasses.replace(one, method=one.method.replace(", found", "")) for one in kept]


def main() -> None:
    """Make everything."""
    out = Path(sys.argv[1]) / "spurious"
    settings = build(out / "settings")
    worst = max(abs(told.achieved - told.v) for told in map(load_setting, settings))
    found = judged(settings, out)
    tied = [one for one in found if not one.setting.endswith("-v0")]
    parts = {name: judged_methods(found, precision) for name, precision in PARTS.items()}
    tables = {
        "built": f"{len(settings)} settings were built; the largest deviation from the wanted V is {worst:.4f}.",
        "strength": strength_table(found),
        "discovery": discovery_table(tied),
        "methods": method_table(parts["all"]),
        "by strength": part_table({f"V = {v:g}": judged_methods(of_value(found, v)) for v in VALUES if v}),
        "by precision": part_table(parts),
    }
    fill(PAGE, tables)
    shutil.rmtree(FILES, ignore_errors=True)
    write_discovery_figure(FILES, {"RaVL": discovery_summaries(tied, THRESHOLDS)})
    write_mitigation_figure(FILES, drawn(parts["P@10 > 0.6"]))


if __name__ == "__main__":
    main()
