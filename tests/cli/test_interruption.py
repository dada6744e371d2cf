"""Ctrl-C and a full disk: what was written is whole, and the same command goes on."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from vlm_data.tables import Predictions, Rationales

SMALL = ("finetune", "--limit", "32", "--out", "run", "--set", "evaluation.alphas=[0.0,1.0]", "--epochs", "1")
LONG = (*SMALL[:-1], "25", "--set", "evaluation.track=0")


def _wait_for(found, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, f"ended by itself: {process.communicate()[1]}"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def _assert_whole(folder: Path) -> None:
    """Every file under a final name can be read to its end."""
    for path in folder.rglob("*.safetensors"):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            load_file(path)
    for path in folder.rglob("*.parquet"):
        if not path.name.startswith("."):
            (Rationales if path.parent.name == "rationales" else Predictions).load(path)
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())


def test_ctrl_c_is_one_paragraph_and_the_same_command_goes_on(vlm, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "vlm_cli", *LONG], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_for(lambda: list(tmp_path.glob("run/resume/phase-0-step-*")), process)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 1
    assert said.endswith("Interrupted. Every file that was written is whole; give the same command again to go on.\n")
    assert "Traceback" not in said and "Error" not in said
    _assert_whole(tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()

    answer = vlm(*LONG)
    assert answer.code == 0, answer.err
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert any(event["event"] == "resume" and event["step"] > 0 for event in events)
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 26))
    assert (tmp_path / "run" / "DONE").exists()


@contextlib.contextmanager
def _files_no_larger_than(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [300, 100_000, 1_600_000], ids=["recipe", "weights", "resume point"])
def test_a_full_disk_is_one_paragraph_and_leaves_nothing_half_written(vlm, tmp_path, size):
    with _files_no_larger_than(size):
        answer = vlm(*SMALL)
    assert answer.code == 1 and answer.out == ""
    assert "cannot write" in answer.paragraph and "Free some space" in answer.paragraph
    _assert_whole(tmp_path)
    if (tmp_path / "run").exists():
        assert not {path.name for path in (tmp_path / "run").iterdir()} & {"model.safetensors", "DONE"}
        assert not [path for path in (tmp_path / "run" / "resume").glob("phase-*") if path.is_dir()]


def test_a_disk_that_is_full_for_the_predictions_keeps_the_model(vlm, tmp_path):
    assert vlm("recipes", "copy", "flyp", "own.toml").code == 0
    with _files_no_larger_than(100):
        refused = [vlm("recipes", "copy", "flyp", "own.toml", "--overwrite"), vlm("evaluate", "tiny", "--limit", "8")]
    for answer in refused:
        assert answer.code == 1 and "cannot write" in answer.paragraph
    assert 'name = "flyp"' in (tmp_path / "own.toml").read_text()  # the old file is whole
    assert not list(tmp_path.rglob("*.parquet")) and not list(tmp_path.rglob("*.tmp"))
