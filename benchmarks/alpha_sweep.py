"""An 11-alpha sweep that decodes every image once, against evaluating 11 merged models one after another from disk."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vlm_data import load_benchmark
from vlm_data.benchmark import Benchmark
from vlm_eval.prediction import predict
from vlm_eval.sweep import Interpolation, evaluate_interpolations
from vlm_models import load_encoder, load_model, save_model
from vlm_models.classifier import Classifier
from vlm_models.zero_shot import zero_shot_classifier

ALPHAS = [round(0.1 * step, 1) for step in range(11)]
ROUNDS = 2


def one_pass(ends: tuple[Classifier, Classifier], benchmark: Benchmark) -> dict:
    tables = evaluate_interpolations(*ends, benchmark.evaluation_sets(), ALPHAS)
    return {(table.meta["data"], float(table.meta["alpha"])): table.logits for table in tables}


def one_after_another(ends: tuple[Classifier, Classifier], benchmark: Benchmark) -> dict:
    logits = {}
    with tempfile.TemporaryDirectory() as folder:
        for alpha in ALPHAS:
            save_model(Interpolation(*ends, []).model(alpha), folder)
            merged = load_model(f"file:{folder}")
            for evaluation in benchmark.evaluation_sets():
                logits[evaluation.data, alpha] = predict(merged, evaluation.dataset).logits
    return logits


def two_models(benchmark: Benchmark) -> tuple[Classifier, Classifier]:
    """The tiny model, and the same with noise on every weight of tower and head: as far apart as a fine-tuning."""
    models = [zero_shot_classifier(load_encoder("tiny"), benchmark.class_names, benchmark.templates) for _ in range(2)]
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in models[1].parameters():
            parameter += 0.02 * parameter.std(correction=0) * torch.randn(parameter.shape, generator=noise)
    models[1].head_kind = "linear"
    return models[0], models[1]


def photo_folder(root: Path, images: int) -> str:
    """Write JPEG files of the size of ImageNet's, a test set and one shift."""
    rng = np.random.default_rng(0)
    for place in ("train", "val", "test", "shifts/blurred"):
        for name in ("left", "right"):
            (root / place / name).mkdir(parents=True)
            for index in range(images if place in ("test", "shifts/blurred") else 2):
                small = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
                small.resize((500, 375), Image.Resampling.BICUBIC).save(
                    root / place / name / f"{index}.jpg", quality=90
                )
    return f"folder:{root}"


def compare(name: str, benchmark: Benchmark) -> None:
    ends = two_models(benchmark)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ours = one_pass(ends, benchmark)
        times["ours"].append(time.perf_counter() - start)
        start = time.perf_counter()
        plain = one_after_another(ends, benchmark)
        times["plain"].append(time.perf_counter() - start)
    worst = max(float(np.abs(ours[key] - plain[key]).max()) for key in plain)
    assert ours.keys() == plain.keys() and worst < 1e-4, f"the two ways disagree by {worst}"
    a, b = statistics.median(times["ours"]), statistics.median(times["plain"])
    print(
        f"{name}: one pass {a:.2f} s, one after another {b:.2f} s, ratio {b / a:.2f} (largest difference {worst:.1e})"
    )


def main() -> None:
    compare("digits, images in memory", load_benchmark("digits", limit=200))
    with tempfile.TemporaryDirectory() as folder:
        compare("JPEG files of 500 x 375", load_benchmark(photo_folder(Path(folder), 40)))


if __name__ == "__main__":
    main()
