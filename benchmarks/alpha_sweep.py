"""An 11-alpha sweep in one pass that runs only what differs, against 11 merged models evaluated from disk."""

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
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
SHIFTS = ("sketched", "blurred", "rotated", "cropped")
Moves = Callable[[str], bool]


def parts(last: int, blocks: int) -> dict[str, Moves]:
    """Which weights differ, by what a table calls them; a zero-shot head is a function of the weights, too."""
    names = tuple(f"visual.transformer.resblocks.{number}." for number in range(blocks - last, blocks))
    return {
        "the head differs": lambda name: name.startswith("head."),
        f"the last {last} of {blocks} blocks differ": lambda name: (
            name.startswith("head.") or any(block in name for block in names)
        ),
        "everything differs": lambda _: True,
    }


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


def two_models(benchmark: Benchmark, spec: str, moves: Moves) -> tuple[Classifier, Classifier]:
    """A model, and the same with noise on some weights: as far apart as a fine-tuning."""
    start = zero_shot_classifier(load_encoder(spec), benchmark.class_names, benchmark.templates)
    models = [start, copy.deepcopy(start)]
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in models[1].named_parameters():
            if moves(name):
                parameter += 0.02 * parameter.std(correction=0) * torch.randn(parameter.shape, generator=noise)
    models[1].head_kind = "linear"
    return models[0], models[1]


def photo_folder(root: Path, images: int) -> str:
    """Write JPEG files of the size of ImageNet's: a test set and four shifts of as many images, two classes."""
    rng = np.random.default_rng(0)
    evaluated = ("test", *(f"shifts/{name}" for name in SHIFTS))
    for place in ("train", "val", *evaluated):
        for name in ("left", "right"):
            (root / place / name).mkdir(parents=True)
            for index in range(images // 2 if place in evaluated else 2):
                small = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
                small.resize((500, 375), Image.Resampling.BICUBIC).save(
                    root / place / name / f"{index}.jpg", quality=90
                )
    return f"folder:{root}"


def compare(name: str, benchmark: Benchmark, spec: str, moves: Moves, *, rounds: int) -> None:
    ends = two_models(benchmark, spec, moves)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(rounds):
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
        f"{name}: one pass {a:.2f} s, one after another {b:.2f} s, ratio {b / a:.2f} (largest difference {worst:.1e})",
        flush=True,
    )


def main() -> None:
    digits = load_benchmark("digits")
    for what, moves in parts(2, 4).items():
        compare(f"22 sets of digits, tiny, {what}", digits, "tiny", moves, rounds=3)
    with tempfile.TemporaryDirectory() as folder:
        photos = load_benchmark(photo_folder(Path(folder), 8))
        for what, moves in parts(4, 12).items():
            compare(f"5 sets of 8 JPEG files, ViT-B/32, {what}", photos, "openclip:ViT-B-32", moves, rounds=1)


if __name__ == "__main__":
    main()
