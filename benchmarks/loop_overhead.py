"""What the training loop costs per step over a bare loop with the same model and data."""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional

from vlm_data import load_benchmark
from vlm_finetune.batches import ImageBatches
from vlm_finetune.devices import accelerator, processes
from vlm_finetune.loop import Loop
from vlm_finetune.methods import full
from vlm_finetune.recipe import TrainingSettings
from vlm_finetune.resume import Position, ResumePoints
from vlm_finetune.run_log import RunLog
from vlm_finetune.schedule import cosine
from vlm_models import load_encoder
from vlm_models.zero_shot import zero_shot_classifier

ROUNDS = 5
SETTINGS = TrainingSettings(epochs=10, batch_size=64, lr=2e-3, warmup=6)


def our_loop(benchmark) -> tuple[float, dict]:
    model = zero_shot_classifier(load_encoder("tiny"), benchmark.class_names, benchmark.templates)
    batches = ImageBatches(benchmark.train, model.encoder.preprocess, SETTINGS)
    method = full.build(model, full.Config(), SETTINGS.epochs * batches.steps)
    with tempfile.TemporaryDirectory() as folder:
        runner, position = accelerator(), Position()
        loop = Loop(method, batches, SETTINGS, runner, position, RunLog(Path(folder) / "log.jsonl"), lambda _: None)
        resume = ResumePoints(Path(folder) / "resume", runner, position, {})
        resume.save = lambda: None  # a resume point is written once per epoch, not per step
        start = time.perf_counter()
        loop.train(resume)
        return time.perf_counter() - start, model.state_dict()


def bare_loop(benchmark) -> tuple[float, dict]:
    model = zero_shot_classifier(load_encoder("tiny"), benchmark.class_names, benchmark.templates)
    batches = ImageBatches(benchmark.train, model.encoder.preprocess, SETTINGS)
    total = SETTINGS.epochs * batches.steps
    trained = [*model.encoder.image_tower().parameters(), *model.head.parameters()]
    for parameter in set(model.parameters()) - set(trained):
        parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW(trained, weight_decay=SETTINGS.weight_decay, fused=True)
    model.train()
    images = torch.from_numpy(benchmark.train.images).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(benchmark.train.labels)
    order = [[batch.indices for batch in batches.epoch(epoch)] for epoch in range(SETTINGS.epochs)]
    start, step = time.perf_counter(), 0
    for epoch in order:
        for rows in epoch:
            optimizer.param_groups[0]["lr"] = cosine(step, SETTINGS.lr, 6, total)
            loss = functional.cross_entropy(model(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
    return time.perf_counter() - start, model.state_dict()


def main() -> None:
    benchmark = load_benchmark("digits")
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    with processes("cpu"):
        for _ in range(ROUNDS + 1):
            seconds, ours = our_loop(benchmark)
            times["ours"].append(seconds)
            seconds, bare = bare_loop(benchmark)
            times["bare"].append(seconds)
            assert all(torch.equal(ours[name], bare[name]) for name in ours), "the loops disagree"
    ours, bare = (statistics.median(values[1:]) for values in (times["ours"], times["bare"]))  # first: warm-up
    steps = SETTINGS.epochs * (len(benchmark.train) // SETTINGS.batch_size)
    best = min(times["ours"][1:]) / min(times["bare"][1:])
    print(
        f"per step: ours {1e3 * ours / steps:.2f} ms, bare {1e3 * bare / steps:.2f} ms ({steps} steps, {ROUNDS} rounds)"
    )
    print(f"ratio of medians {ours / bare:.3f}, of minima {best:.3f}; weights are equal bit for bit")


if __name__ == "__main__":
    main()
