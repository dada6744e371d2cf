import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest

from vlm_data import load_benchmark
from vlm_data.tables import Regions
from vlm_finetune.finetuning import finetune
from vlm_finetune.recipe import parse
from vlm_finetune.run import LOG
from vlm_finetune.run_log import read_log
from vlm_finetune.training_regions import needs_regions

SETTINGS = {
    "data": {"limit": 96},
    "training": {"epochs": 3, "batch_size": 32, "lr": 1e-3, "warmup": 1},
    "evaluation": {"track": 0},
}


@functools.cache
def regions_file():
    """Where a table of regions of the small digits lies: up to five overlapping ones per image, a third spurious."""
    data, rng = load_benchmark("digits", limit=SETTINGS["data"]["limit"]).train, np.random.default_rng(8)
    ids = tuple(np.repeat(data.ids, rng.integers(0, 6, len(data))))
    corners = rng.integers(0, 20, (len(ids), 2))
    boxes = np.concatenate([corners, corners + rng.integers(6, 13, (len(ids), 2))], axis=1).astype(np.float64)
    path = Path(tempfile.mkdtemp()) / "regions.parquet"
    Regions(ids, boxes, spurious=rng.random(len(ids)) < 1 / 3).save(path)
    return str(path)


def small_recipe(method="full", /, **tables):
    """A recipe that trains three steps per epoch; `tables` change its settings."""
    own = {name: {**SETTINGS.get(name, {}), **tables.get(name, {})} for name in {*SETTINGS, *tables} - {"method"}}
    probe = {"probe_epochs": 2} if method == "lp-ft" else {}
    every = {"teacher_every": 2} if method == "carot" else {}
    if needs_regions(method):
        own["data"] = {"regions": regions_file(), **own["data"]}
    return parse({**own, "method": {"name": method, **probe, **every, **tables.get("method", {})}})


@pytest.fixture(scope="session")
def digits():
    return load_benchmark("digits", limit=SETTINGS["data"]["limit"])


@pytest.fixture(scope="session")
def recipe():
    return small_recipe


@pytest.fixture
def train(digits, tmp_path):
    """Fine-tunes with small settings in a fresh directory; returns the run and the events of its log."""

    def run(method="full", out=None, /, *, benchmark=None, after_epoch=None, progress=lambda *_: None, **tables):
        found = finetune(
            small_recipe(method, **tables),
            out or tmp_path / "run",
            benchmark=benchmark or digits,
            after_epoch=after_epoch,
            progress=progress,
        )
        return found, read_log(found.path / LOG)

    return run
