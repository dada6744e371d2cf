"""Images per second and model-FLOP utilisation (MFU) of a training step of FLYP or CaRot.

python benchmarks/throughput.py --model openclip:ViT-B-16 --method carot --batch-size 1024 --chunk-size 256
python benchmarks/throughput.py --model tiny --device cpu --batch-size 64 --steps 3

MFU is the floating point operations that the step needs, divided by what the device could have done in the time. What a
step needs is counted by `torch.utils.flop_counter` on one micro-batch, forward and backward, teacher included, every
caption another one; passes that are repeated to save memory are time, but not work. Images lie in page-locked memory:
reading data is not measured.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from batches_in_memory import CLASSES, TEMPLATES, BatchesInMemory, random_batches
from torch.utils.flop_counter import FlopCounterMode

from vlm_data.errors import CallError
from vlm_data.loading import Batch
from vlm_finetune.devices import accelerator, processes
from vlm_finetune.loop import Loop
from vlm_finetune.pair_method import PairMethod
from vlm_finetune.recipe import METHODS, TrainingSettings
from vlm_finetune.resume import Position, ResumePoints
from vlm_finetune.run_log import RunLog
from vlm_models import load_encoder
from vlm_models.zero_shot import zero_shot_classifier

PEAK_TFLOPS = {"B200": 2250, "H200": 989, "H100 NVL": 835, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362}
"""Dense bf16 products per second in units of 10^12, from NVIDIA's data sheets, by a part of the device's name."""
WARM_UP = 3
"""Optimiser steps that are not measured; the first one has no distillation."""


class TimedBatches(BatchesInMemory):
    """Knows when the first measured step began."""

    started = 0.0

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the micro-batches; look at the clock when warming up is over."""
        for index, batch in enumerate(super().epoch(epoch, first_step)):
            if index == WARM_UP * self.parts:
                self.started = now()
            yield batch


def now() -> float:
    """Return the time in seconds once the device has done its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def flops_per_pair(method: PairMethod, batch: Batch, device: torch.device, precision: str) -> float:
    """Return the floating point operations of one pair, forward and backward, a product and a sum being two."""
    counter = FlopCounterMode(display=False)
    batch = batch.to(device)
    with counter:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = method(batch, 1)["loss"]
        loss.backward()
    method.zero_grad()
    method.forget()
    return counter.get_total_flops() / len(batch.labels)


def renamed(batch: Batch, step: int) -> Batch:
    """Return the same images with captions that no other step has: nothing is to be had from a memory of them."""
    return dataclasses.replace(batch, captions=tuple(f"{caption} {step}" for caption in batch.captions))


def train(method: PairMethod, batches: TimedBatches, settings: TrainingSettings, precision: str) -> float:
    """Run the loop of `vlm-finetune` over the batches; return seconds per measured step."""
    runner, position = accelerator(precision), Position()
    with tempfile.TemporaryDirectory() as folder:
        log = RunLog(Path(folder) / "log.jsonl")
        loop = Loop(method, batches, settings, runner, position, log, lambda _: None)
        resume = ResumePoints(Path(folder) / "resume", runner, position, [])
        resume.save = lambda: None  # a resume point is written once per epoch, not per step
        loop.train(resume)
        return (now() - batches.started) / (batches.steps - WARM_UP)


def measure(options: argparse.Namespace, device: torch.device) -> None:
    """Build the model, measure and print."""
    chunk = options.chunk_size or options.batch_size
    if options.batch_size % chunk:
        raise CallError(
            f"--chunk-size {chunk} does not divide --batch-size {options.batch_size}; choose one that does."
        )
    parts, steps = options.batch_size // chunk, WARM_UP + options.steps
    model = zero_shot_classifier(load_encoder(options.model, device), CLASSES, TEMPLATES)
    module = METHODS.load(options.method)
    method = module.build(model, module.Config(), steps)
    size = model.encoder.preprocess.size
    settings = TrainingSettings(epochs=1, batch_size=options.batch_size, accumulation_steps=parts, lr=1e-5, warmup=1)
    first = random_batches(size, chunk, parts, own_captions=True)
    first = [batch.pin_memory() for batch in first] if device.type == "cuda" else first
    micro = [renamed(batch, step) for step in range(steps) for batch in first]
    work = flops_per_pair(method, micro[0], device, options.precision) * options.batch_size
    seconds = train(method, TimedBatches(micro, parts), settings, options.precision)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    peak = options.peak_tflops or next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)
    print(
        f"{options.model}, {options.method}, {options.precision}, {name}: {options.batch_size} pairs in {parts} parts"
    )
    print(f"{options.batch_size / seconds:.1f} images/s, {1e3 * seconds:.1f} ms and {work / 1e12:.5g} TFLOP per step")
    if device.type == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB")
    if peak is None:
        print("MFU unknown: tell the peak of this device, --peak-tflops")
    else:
        print(f"MFU {work / seconds / (peak * 1e12):.1%} of {peak:g} TFLOP/s")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="openclip:ViT-B-16", help="model spec; weights may be random")
    parser.add_argument("--method", default="flyp", choices=("flyp", "carot"))
    parser.add_argument("--batch-size", type=int, default=512, help="pairs per optimiser step")
    parser.add_argument("--chunk-size", type=int, default=0, help="pairs whose graph is held at a time; 0 = all")
    parser.add_argument("--steps", type=int, default=20, help="optimiser steps that are measured")
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--peak-tflops", type=float, help="of the device, where its name is not known")
    options = parser.parse_args()
    try:
        with processes(options.device) as state:
            measure(options, torch.device(str(state.device)))
    except CallError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
