"""The same command on two processes: one answer, every sample counted once, the numbers of one process."""

import contextlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from vlm_data.tables import Predictions, Rationales

# the published rate: where a gradient is all but zero, Adam makes steps of up to the rate from its rounding
COMMAND = (
    *("finetune", "--method", "flyp", "--limit", "61", "--epochs", "2", "--lr", "1e-5", "--out", "run", "--json"),
    *("--batch-size", "20", "--set", "evaluation.alphas=[0.0,1.0]", "--set", "evaluation.track=11"),
)


def torchrun(folder, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vlm_cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )


@pytest.mark.slow
def test_two_processes_give_the_answer_of_one(vlm, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    with contextlib.chdir(one):
        expected = vlm(*COMMAND).document
    done = torchrun(two, *COMMAND)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["alpha"] == expected["alpha"]
    assert len(found["rows"]) == len(expected["rows"])
    for row, other in zip(found["rows"], expected["rows"], strict=True):
        assert [row[key] for key in ("model", "data", "split", "n")] == [
            other[key] for key in ("model", "data", "split", "n")
        ]
        assert row["metrics"]["nll"] == pytest.approx(other["metrics"]["nll"], abs=1e-3)
    paths = sorted((one / "run" / "predictions").iterdir())
    assert [path.name for path in paths] == sorted(path.name for path in (two / "run" / "predictions").iterdir())
    for path in paths:
        table, other = Predictions.load(path), Predictions.load(two / "run" / "predictions" / path.name)
        assert other.ids == table.ids and len(set(other.ids)) == 61
        np.testing.assert_allclose(other.logits, table.logits, rtol=0, atol=1e-2)
        assert np.array_equal(other.predicted, table.predicted)
        if "alpha-0.00" in path.name:
            assert path.read_bytes() == (two / "run" / "predictions" / path.name).read_bytes()
    reasons = sorted((one / "run" / "rationales").glob("*.parquet"))
    assert len(reasons) == 3
    for path in reasons:
        table, other = Rationales.load(path), Rationales.load(two / "run" / "rationales" / path.name)
        assert other.ids == table.ids and len(set(other.ids)) == 61
        np.testing.assert_allclose(other.measures["mass"], table.measures["mass"], rtol=0, atol=1e-2)
    assert sorted(p.name for p in (one / "run").iterdir()) == sorted(p.name for p in (two / "run").iterdir())


@pytest.mark.slow
def test_a_wrong_call_ends_all_processes_with_one_paragraph(tmp_path):
    done = torchrun(tmp_path, *COMMAND, "--batch-size", "21")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if "a global batch of 21 samples" in " ".join(line.split())]
    assert said, done.stderr[-3000:]
    assert "defect of vlm" not in done.stderr
