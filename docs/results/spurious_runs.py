"""Build the settings of spurious-correlations.md, train on them, search the runs, and gather what was measured."""

import contextlib
import csv
import io
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

import torch

from vlm_cli.main import run as run_command
from vlm_data import load_benchmark
from vlm_data.controlled import load_setting
from vlm_data.tables import Regions
from vlm_eval.metrics.subgroups import Subgroups
from vlm_eval.run_files import read_run
from vlm_eval.spurious.group_scores import image_subgroups, region_subgroups
from vlm_eval.spurious.settings import judge_runs
from vlm_eval.spurious.summaries import SettingRecord
from vlm_eval.spurious.validity import id_table
from vlm_models.region_tables import embed_regions
from vlm_models.zero_shot import load_classifier

VALUES, SEEDS, PROCESSES = (0.0, 0.7, 0.9, 0.95, 0.99), (0, 1, 2), 2
POOLING, SEARCHED = "masked", "crop"
"""How regions become vectors in training and where they are scored; and in the search, where place should not count."""
STANDARD = "standard"
COMMON = {
    "data.augmentation": "none",
    "training.select": "last", "training.epochs": "5", "training.lr": "2e-3", "training.batch_size": "64",
    "evaluation.alphas": "[0.0,1.0]", "evaluation.alpha": "1.0", "evaluation.rationales": "none",
    "evaluation.report": "false",
}  # fmt: skip
Point = Mapping[str, str]


def build(out: Path) -> list[Path]:
    """Build every setting and return their folders."""
    if not (out / "pool.json").exists():
        values, seeds = (",".join(map(str, numbers)) for numbers in (VALUES, SEEDS))
        run_command(["spurious", "build", "digits", "--v", values, "--seeds", seeds, "--n", "2000", "--out", str(out)])
    return sorted(path.parent for path in out.glob("*/setting.json"))


def train(points: Mapping[str, Point], seed: int, out: Path) -> dict[str, Path]:
    """Fine-tune with every point of a list, in several processes, and return the runs by name."""
    if not points:
        return {}
    out.mkdir(parents=True, exist_ok=True)
    listed = out / f"points-seed{seed}.csv"
    columns = sorted({key for point in points.values() for key in point})
    with listed.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["name", *columns], restval="")
        writer.writeheader()
        writer.writerows({"name": name, **point} for name, point in points.items())
    settings = [word for item in COMMON.items() for word in ("--set", "=".join(item))]
    call = [sys.executable, "-m", "vlm_cli", "sweep", "--points", str(listed), "--seeds", str(seed), *settings]
    jobs = [
        subprocess.Popen([*call, "--job", f"{job}/{PROCESSES}", "--out", str(out), "--json"], stdout=subprocess.DEVNULL)
        for job in range(1, PROCESSES + 1)
    ]
    if any([job.wait() for job in jobs]):
        raise SystemExit(f"a sweep over {listed} failed")
    return {name: out / f"{name}-seed{seed}" for name in points}


def search(runs: Sequence[Path]) -> None:
    """Search every run for spurious features, in several processes."""
    with get_context("spawn").Pool(PROCESSES) as pool:
        pool.map(_search, [run for run in runs if not (run / "spurious" / "discovery.json").exists()], chunksize=4)


def _search(run: Path) -> None:
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
        code = run_command(["spurious", "discover", f"run:{run}", "--pooling", SEARCHED, "--json"])
    if code:
        raise SystemExit(told.getvalue())


def same_regions(found: Path, truth: Path) -> bool:
    """Return whether a table of found regions flags just those of its images that hold the feature."""
    own, true = Regions.load(found), Regions.load(truth)
    true = true.select(true.rows_of(tuple(dict.fromkeys(own.image_ids))) >= 0)
    flagged = [
        {
            (image, *box)
            for image, box, flag in zip(one.image_ids, one.boxes.tolist(), one.spurious, strict=True)
            if flag
        }
        for one in (own, true)
        if one.spurious is not None
    ]
    return len(flagged) == 2 and flagged[0] == flagged[1]


def records(standard: Mapping[Path, Path]) -> list[SettingRecord]:
    """Return what standard fine-tuning and discovery gave on every setting."""
    found = []
    setting_of = {str(run): load_setting(setting) for setting, run in standard.items()}
    for judged in judge_runs(standard.values()):
        for seed, retrieval in zip(judged.validity.seeds, judged.retrievals, strict=True):
            setting = setting_of[seed.run]
            assert retrieval is not None
            gaps = (seed.gaps.epsilon1, seed.gaps.epsilon2)
            found.append(
                SettingRecord(
                    f"{setting.spurious_class}-v{setting.v:g}",
                    setting.seed,
                    None if None in gaps else min(gap for gap in gaps if gap is not None),
                    retrieval.precision[10],
                    retrieval.random[10],
                    retrieval.found,
                    bool(retrieval.class_found),
                    {},
                )
            )
    return found


def accuracies(runs: Iterable[tuple[Path, Path]]) -> list[dict[str, float]]:
    """Return overall and worst-group accuracy of images and of core regions, for every (setting, run)."""
    with get_context("spawn").Pool(PROCESSES) as pool:
        return pool.map(_accuracies, list(runs), chunksize=8)


def _accuracies(one: tuple[Path, Path]) -> dict[str, float]:
    torch.set_num_threads(1)
    setting, run = one
    predictions = id_table(read_run(run))
    benchmark, truth = load_benchmark(f"spurious:{setting}"), Regions.load(setting / "regions.parquet")
    test, model = benchmark.test, load_classifier(f"run:{run}", benchmark.class_names, benchmark.templates)
    assert truth.labels is not None  # a setting tells them
    core = truth.select((truth.rows_of(test.ids) >= 0) & (truth.labels >= 0))
    regions = embed_regions(model, test, core, POOLING)
    images, parts = image_subgroups(predictions), region_subgroups(regions, predictions)
    return {**_shares("image", images), **_shares("region", parts)}


def _shares(name: str, found: Subgroups) -> dict[str, float]:
    assert found.overall is not None and found.worst is not None
    return {f"{name}_overall": found.overall, f"{name}_worst_group": found.worst.accuracy}
