"""One of several processes of `test_two_processes.py`: fine-tunes with every recipe of a folder in turn."""

import sys
from pathlib import Path

import numpy as np
import torch

from vlm_data import load_benchmark
from vlm_finetune.devices import processes
from vlm_finetune.finetuning import finetune, zero_shot_model
from vlm_finetune.recipe import load_recipe, parse
from vlm_models.features import extract_features
from vlm_models.inference import map_images


def evaluate(folder, rank):
    """Classify data that neither two processes nor batches divide evenly; every process writes what it returns."""
    recipe = parse({"data": {"limit": 597}})
    benchmark = load_benchmark("digits", limit=597)
    model = zero_shot_model(recipe, benchmark)
    logits = map_images(model, benchmark.test, model.encoder.preprocess, batch_size=64)
    three = benchmark.test.select(range(3))
    few = map_images(model, three, model.encoder.preprocess, batch_size=64)
    features = extract_features(model.encoder, benchmark.test)["feature"]
    readings = extract_features(model.encoder, three, ["feature", "tokens.patches"])
    np.savez(folder / f"evaluated-{rank}.npz", logits=logits, few=few, features=features, **readings)


def main(folder):
    """Run `<name>.toml` into the directory `<name>` for all recipes of a folder."""
    without_gpu = not torch.accelerator.is_available()
    with processes(None if without_gpu else "cpu") as state:  # two processes may not share one GPU
        for path in sorted(folder.glob("*.toml")):
            finetune(parse(load_recipe(path)), folder / path.stem)
        evaluate(folder, state.process_index)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
