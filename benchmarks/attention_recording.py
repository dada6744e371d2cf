"""What recording attention costs: a forward pass of ViT-B/32 with and without the last layer recorded.

python benchmarks/attention_recording.py [--batch 32] [--repeat 15]
"""

import argparse
import contextlib
import statistics
import time

import torch

from vlm_models import load_encoder
from vlm_models.attention import record_attention


def main() -> None:
    """Time both ways in turn, in one process, and compare their outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    model = load_encoder("openclip:ViT-B-32").requires_grad_(False)
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (options.batch, 3, 224, 224), dtype=torch.uint8, generator=draws)
    ways = {"plain": lambda: contextlib.nullcontext(), "recorded": lambda: record_attention(model, "vision", [-1])}
    times: dict[str, list[float]] = {name: [] for name in ways}
    outputs = {}
    for _ in range(options.repeat + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            with way() as record, torch.no_grad():
                outputs[name] = model.encode_image(images)
            if record:
                assert record.probabilities[0].shape == (options.batch, 12, 50, 50)
            times[name].append(time.perf_counter() - start)
    best = {name: min(found[1:]) for name, found in times.items()}  # the first pass warms up
    median = {name: statistics.median(found[1:]) for name, found in times.items()}
    difference = (outputs["plain"] - outputs["recorded"]).abs().max().item()
    print(f"plain {median['plain'] * 1e3:.1f} ms, last layer recorded {median['recorded'] * 1e3:.1f} ms (medians)")
    print(
        f"ratio of medians {median['recorded'] / median['plain']:.3f}, of minima {best['recorded'] / best['plain']:.3f}"
    )
    print(f"largest difference of the features {difference:.1e}")
    if difference > 1e-6 * outputs["plain"].abs().max().item() + 1e-6:
        raise SystemExit("the two ways disagree")


if __name__ == "__main__":
    main()
