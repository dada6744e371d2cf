"""The benchmark of throughput, which needs a GPU to tell something, runs without one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "throughput.py"


def call(*flags):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "error", SCRIPT, "--model", "tiny", *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)


def test_operations_are_those_of_the_layers():
    """Forward, twice as much backward, and the teacher's forward pass; 7 or 8 tokens of captions are 8 columns."""
    small = ("--device", "cpu", "--batch-size", "32", "--chunk-size", "16", "--steps", "1", "--precision", "fp32")
    done = call(*small, "--method", "carot", "--peak-tflops", "0.5")
    assert done.returncode == 0, done.stderr
    assert "32 pairs in 2 parts" in done.stdout
    per_layer = 12 * 64**2 * 2  # operations of the maps of one layer for one token
    least = 32 * (1 + 2 + 1) * (4 * 17 + 2 * 8) * per_layer / 1e12
    found = re.search(r"([\d.]+) images/s, ([\d.]+) ms and ([\d.]+) TFLOP per step\nMFU ([\d.]+)% of 0.5", done.stdout)
    images, milliseconds, work, utilisation = map(float, found.groups())
    assert least < work < 1.6 * least + 1e-3
    assert images == pytest.approx(32e3 / milliseconds, rel=0.01)
    assert utilisation == pytest.approx(100 * work / (milliseconds / 1e3) / 0.5, abs=0.2)


def test_a_missing_gpu_is_one_sentence():
    done = call()
    assert done.returncode == 2 and "this machine offers no 'cuda' to PyTorch" in done.stderr
    assert "Traceback" not in done.stderr
