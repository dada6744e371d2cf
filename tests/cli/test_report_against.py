"""`vlm report --against`: the run before mitigation in the report of the one after it."""

from pathlib import Path

import numpy as np
import pytest

from vlm_data.tables import Predictions
from vlm_finetune.recipe import parse

N = 60


def write_run(folder, method, share):
    """A run whose model is right in 90 % of images, but of ones without the feature as often as told."""
    labels = np.arange(N) % 2
    values = np.where(np.arange(N) // 2 % 2 == 0, "with", "without")
    chance = np.where((labels == 1) & (values == "without"), share, 0.9)
    right = np.random.default_rng(0).random(N) < chance
    logits = 3 * np.eye(2, dtype=np.float32)[np.where(right, labels, 1 - labels)]
    meta = {"data": "made", "split": "test", "alpha": "1.0", "role": "id", "model": "fine-tuned"}
    ids = tuple(f"image-{row}" for row in range(N))
    table = Predictions(ids, labels, logits, meta, {"feature": tuple(map(str, values))})
    table.save(folder / "predictions" / "made.test.alpha-1.00.parquet")
    (folder / "recipe.toml").write_text(parse({"method": {"name": method}}).to_toml())
    return folder


@pytest.fixture
def runs(tmp_path):
    return write_run(tmp_path / "before", "full", 0.1), write_run(tmp_path / "after", "flyp", 0.9)


def test_the_report_tells_what_mitigation_changed(vlm, runs):
    before, after = runs
    (report,) = vlm("report", after, "--against", before, "--json").document["reports"]
    page = Path(report).read_text(encoding="utf-8")
    assert "Before and after mitigation" in page and "flyp raised accuracy of the worst group on made" in page
    assert f"--against {before}" in page


def test_a_run_is_not_compared_with_itself_or_with_nothing(vlm, runs, tmp_path):
    answer = vlm("report", runs[0], "--against", runs[0])
    assert answer.code == 2 and "would be compared with itself" in answer.paragraph
    answer = vlm("report", runs[0], "--against", tmp_path / "nowhere")
    assert answer.code == 2 and "is not a run directory" in answer.paragraph
