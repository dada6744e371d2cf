"""Runs on settings that were built for real: sorted by setting and training, judged from their files."""

import json

import numpy as np
import pytest

from vlm_data import load_benchmark
from vlm_data.controlled import build_settings
from vlm_data.errors import CallError
from vlm_data.tables import Predictions, Regions
from vlm_eval.spurious.settings import judge_runs, write_validity


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    out = tmp_path_factory.mktemp("settings")
    return build_settings("digits", out, classes=["nine"], seeds=(0, 1), n=200, val=100, test=200)


def answers(setting, split, rng, without_feature=0.3):
    """A model that is right, but for nines without the feature and other digits with it."""
    benchmark = load_benchmark(f"spurious:{setting}")
    data = getattr(benchmark, split)
    labels, present = np.asarray(data.labels), np.array(data.groups["feature"]) == "with"
    right = rng.random(len(labels)) < np.where(present == (labels == 9), 0.95, without_feature)
    predicted = np.where(right, labels, (labels + 1) % 10)
    logits = 3 * np.eye(10, dtype=np.float32)[predicted]
    meta = {"data": benchmark.name, "split": split, "alpha": "1.0", "role": "id"}
    return benchmark, Predictions(tuple(data.ids), labels.astype(np.int64), logits, meta, dict(data.groups))


def write_run(folder, setting, seed, *, options="", discovered=False):
    rng = np.random.default_rng(seed)
    benchmark, table = answers(setting, "test", rng)
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(
        f'[method]\nname = "region-aware"\n{options}\n[model]\nspec = "tiny"\n'
        f'[data]\nname = "spurious:{setting}"\nregions = "run-{seed}/spurious/train-regions.parquet"\n'
        f"[training]\nseed = {seed}\n"
    )
    (folder / "model.json").write_text(json.dumps({"class_names": list(benchmark.class_names)}))
    table.save(folder / "predictions" / f"{setting.name}.test.alpha-1.00.parquet")
    if discovered:
        write_discovery(folder / "spurious", setting, rng)
    return folder


def write_discovery(folder, setting, rng):
    """Of the validation images: a cluster whose first five regions are planted ones."""
    _, table = answers(setting, "val", rng)
    table.save(folder / "predictions.parquet")
    truth = Regions.load(setting / "regions.parquet")
    regions = truth.select(truth.rows_of(table.ids) >= 0)
    logits = np.zeros((len(regions), 10), dtype=np.float32)
    logits[np.arange(len(regions)), np.maximum(regions.labels, 0)] = 4.0
    regions.replace(logits=logits).save(folder / "regions.parquet")
    planted, others = np.flatnonzero(regions.spurious), np.flatnonzero(~regions.spurious)
    cluster = {"id": 3, "rank": 1, "size": 10, "images": 10, "gap_score": 1.0, "class": "nine", "gaps": []}
    cluster["ranked"] = [*planted[:5].tolist(), *others[:5].tolist()]
    told = {"found": True, "class_names": [], "images": 100, "regions": len(regions), "clusters": [cluster]}
    (folder / "discovery.json").write_text(json.dumps(told))


def test_seeds_of_a_setting_are_judged_together_and_other_options_apart(tmp_path, settings):
    runs = [write_run(tmp_path / f"sum-{seed}", settings[seed], seed, options='reduction = "sum"') for seed in (0, 1)]
    runs += [write_run(tmp_path / "mean-0", settings[0], 0, options='reduction = "mean"')]
    judged = {one.method: one for one in judge_runs([runs[1], runs[2], runs[0]])}
    assert list(judged) == ["region-aware method.reduction=mean", "region-aware method.reduction=sum"]
    found = judged["region-aware method.reduction=sum"]
    assert [seed.run for seed in found.validity.seeds] == [str(run) for run in runs[:2]]
    assert [setting.seed for setting in found.settings] == [0, 1] and found.validity.spurious_class == "nine"
    assert found.retrievals == found.regions == (None, None)
    assert found.document()["achieved"] == [pytest.approx(0.95, abs=0.02)] * 2


def test_discovery_and_regions_of_a_run_are_judged_and_written(tmp_path, settings):
    run = write_run(tmp_path / "run", settings[0], 0, discovered=True)
    (judged,) = judge_runs([run])
    (retrieval,), (regions,) = judged.retrievals, judged.regions
    assert retrieval.precision[10] == 0.5 and retrieval.class_found
    assert 0.08 < retrieval.random[10] < 0.17
    assert regions.overall == 1.0 and regions.counts.sum() == 100  # one digit in each of the validation images
    (path,) = write_validity([judged])
    told = json.loads(path.read_text())
    assert told["retrieval"]["precision"]["10"] == 0.5 and told["regions"]["overall"] == 1.0
    assert told["seeds"][0]["run"] == str(run) and "retrievals" not in told


def test_a_discovery_on_other_data_is_refused(tmp_path, settings):
    run = write_run(tmp_path / "run", settings[0], 0, discovered=True)
    table = Regions.load(run / "spurious" / "regions.parquet")
    table.replace(meta={"data": settings[1].name}).save(run / "spurious" / "regions.parquet")
    with pytest.raises(CallError, match=f"was made on {settings[1].name}, the run is on {settings[0].name}"):
        judge_runs([run])


def test_runs_on_other_data_are_refused(tmp_path, settings):
    run = write_run(tmp_path / "run", settings[0], 0)
    with pytest.raises(CallError, match="no run to judge"):
        judge_runs([])
    with pytest.raises(CallError, match="named twice"):
        judge_runs([run, run])
    (run / "recipe.toml").write_text('[data]\nname = "digits"\n')
    with pytest.raises(CallError, match="digits"):
        judge_runs([run])
