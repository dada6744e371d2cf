import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vlm_data import load_benchmark
from vlm_finetune.finetuning import finetune, zero_shot_model
from vlm_finetune.losses import TARGETS
from vlm_finetune.recipe import METHODS, parse
from vlm_finetune.run import LOG
from vlm_finetune.run_log import read_log
from vlm_models.checkpoint import read_weights
from vlm_models.features import extract_features
from vlm_models.inference import map_images

WORKER = Path(__file__).parent / "two_process_worker.py"

# Gradients differ in the last bit. Adam makes steps of up to the rate from it where a gradient is all but zero, so the
# rate is the published one and all weights together are compared with how far they moved, too. Adam does not see a
# wrong factor of the gradient either, so its norm is logged, and not clipped.
STEPS = {"lr": 1e-5, "clip_norm": 1e6}
CLIPPED = {"lr": 1e-5, "clip_norm": 1.0, "save_every": 2, "accumulation_steps": 4}


def launch(folder):
    """Run the worker as two processes, as users do."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", WORKER, folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]


def two_processes(folder, recipes):
    """Fine-tune with each recipe on two processes; the runs stand below `folder` by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, recipe in recipes.items():
        (folder / f"{name}.toml").write_text(recipe.to_toml(), encoding="utf-8")
    launch(folder)
    return folder


def distance(a, b):
    return sum((a[name] - b[name]).double().square().sum().item() for name in a) ** 0.5


def assert_same_weights(one, two):
    for path in one.glob("*.safetensors"):
        expected, found = read_weights(path), read_weights(two / path.name)
        for name, tensor in expected.items():
            message = f"{path.name}: {name}"
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5, msg=lambda m, w=message: f"{w}: {m}")
    before = zero_shot_model(parse({}), load_benchmark("digits")).state_dict()
    expected, found = (read_weights(run / "model.safetensors") for run in (one, two))
    assert distance(expected, found) < 1e-3 * distance(expected, before)


def assert_same_training(one, two):
    assert_same_weights(one, two)
    logs = [[e for e in read_log(run / LOG) if e["event"] in ("step", "epoch")] for run in (one, two)]
    assert len(logs[0]) == len(logs[1]) > 4
    for expected, found in zip(*logs, strict=True):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            close = pytest.approx(value, rel=1e-5, abs=1e-5) if isinstance(value, float) else value
            assert found[key] == close, key
    starts = [next(e for e in read_log(run / LOG) if e["event"] == "start") for run in (one, two)]
    assert [start["processes"] for start in starts] == [1, 2]
    manifests = [json.loads((run / "model.json").read_text()) for run in (one, two)]
    assert manifests[0]["epoch"] == manifests[1]["epoch"]
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in two.iterdir())


def assert_same_evaluation(folder):
    data = load_benchmark("digits", limit=597).test
    model = zero_shot_model(parse({}), load_benchmark("digits", limit=597))
    expected = map_images(model, data, model.encoder.preprocess, batch_size=64)
    assert expected.shape == (597, 10)
    readings = extract_features(model.encoder, data.select(range(3)), ["feature", "tokens.patches"])
    features = extract_features(model.encoder, data)["feature"]
    for rank in (0, 1):
        found = np.load(folder / f"evaluated-{rank}.npz")
        assert np.array_equal(found["logits"], expected)
        assert np.array_equal(found["features"], features)
        np.testing.assert_allclose(found["few"], expected[:3], rtol=0, atol=1e-4)  # the second process has no batch
        for name, values in readings.items():
            assert np.array_equal(found[name], values)


def test_a_contrastive_training_and_an_evaluation(recipe, tmp_path, digits):
    recipes = {"carot": recipe("carot", training={**STEPS, "epochs": 2, "accumulation_steps": 2})}
    folder = two_processes(tmp_path / "two", recipes)
    one = finetune(recipes["carot"], tmp_path / "one", benchmark=digits)
    assert_same_training(one.path, folder / "carot")
    assert_same_evaluation(folder)


@pytest.mark.slow
def test_every_method(recipe, tmp_path, digits):
    recipes = {name: recipe(name, data={"augmentation": "crop"}, training=STEPS) for name in METHODS.names()}
    looped = [name for name in METHODS.names() if not hasattr(METHODS.load(name), "search")]
    recipes |= {f"{name}-in-parts": recipe(name, training=CLIPPED) for name in looped}
    recipes |= {f"{name}-lora": recipe(name, lora={"rank": 4}, training=STEPS) for name in ("full", "carot", "lp-ft")}
    targets = {f"flyp-{name}": {"targets": name} for name in TARGETS[1:]}
    recipes |= {name: recipe("flyp", training=STEPS, method=own) for name, own in targets.items()}
    recipes["carot-average"] = recipe("carot", training={**STEPS, "ema": 0.9})
    smooth = {"label_smoothing": 0.1}
    recipes["flyp-many-steps"] = recipe("flyp", training={**STEPS, "epochs": 10}, method=smooth)
    folder = two_processes(tmp_path / "two", recipes)
    for name, own in recipes.items():
        assert_same_training(finetune(own, tmp_path / name, benchmark=digits).path, folder / name)


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused_by_all_processes(recipe, tmp_path):
    (tmp_path / "odd.toml").write_text(recipe(training={"batch_size": 31}).to_toml())
    with pytest.raises(AssertionError, match="a global batch of 31 samples cannot be split evenly over 2 processes"):
        launch(tmp_path)
