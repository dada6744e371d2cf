"""SIGKILL at random moments and the same command again: the result is that of a run nobody disturbed, bit for bit."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

SETTINGS = (
    *("--limit", "32", "--out", "run", "--json"),
    *("--set", "training.batch_size=8", "--set", "training.save_every=3"),
)
FEW = ("--set", "evaluation.alphas=[0.0,1.0]", "--set", "evaluation.track=8")

ONCE = ("*.toml", "*.json", "predictions/*.parquet", "rationales/*", "figures/*", "*.html")
"""Files of a run that are written once."""


def progress_of(run: Path) -> int:
    """How far a run has come: optimiser steps in its log and files that are written once."""
    log = run / "log.jsonl"
    steps = log.read_text().count('"event": "step"') if log.exists() else 0
    return steps + sum(len(list(run.glob(pattern))) for pattern in ONCE)


def kill_at(folder: Path, arguments: Sequence[str], progress: int, delay: float) -> None:
    """Start the command, and once it is past its imports kill it `delay` seconds after the run has come so far."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vlm_cli", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    try:
        while not process.stderr.readline().startswith("loading "):
            assert process.poll() is None
        end = time.monotonic() + 120
        while process.poll() is None and progress_of(folder / "run") < progress:
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.005)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        said = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, f"ended by itself: {said[-2000:]}"


def results(folder: Path) -> dict[str, bytes]:
    """The contents of everything that does not say when it was made."""
    patterns = ("*.safetensors", "model.json", "predictions/*", "rationales/*")
    files = [path for pattern in patterns for path in (folder / "run").glob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def steps(folder: Path) -> list[dict[str, object]]:
    events = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] in ("step", "epoch", "collapse")]


def check(vlm, tmp_path: Path, arguments: Sequence[str], kills: int, seed: int) -> None:
    """Compare a run killed `kills` times at moments drawn from `seed` with one that was left alone."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    with contextlib.chdir(whole):
        expected = vlm(*arguments)
    assert expected.code == 0, expected.err
    rng = random.Random(seed)
    total = progress_of(whole / "run")
    for moment in sorted(rng.randrange(int(0.95 * total)) for _ in range(kills)):
        kill_at(killed, arguments, moment, rng.uniform(0, 0.5))
    with contextlib.chdir(killed):
        found = vlm(*arguments)
    assert found.code == 0, found.err
    assert results(killed) == results(whole)
    assert found.document == expected.document
    assert steps(killed) == steps(whole)
    assert sorted(p.name for p in (killed / "run").iterdir()) == sorted(p.name for p in (whole / "run").iterdir())
    assert not list((killed / "run").rglob(".*"))


def test_killed_twice(vlm, tmp_path):
    check(vlm, tmp_path, ("finetune", "--epochs", "2", *SETTINGS, *FEW), kills=2, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("method", "rank"), [("carot", 0), ("lp-ft", 0), ("full", 2)])
def test_killed_at_ten_random_moments(vlm, tmp_path, method, rank):
    call = ("finetune", "--epochs", "4", "--method", method, "--lora-rank", str(rank), *SETTINGS, *FEW)
    check(vlm, tmp_path, call, kills=10, seed=len(method))
