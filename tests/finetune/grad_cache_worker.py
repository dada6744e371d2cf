"""Gradients of pair methods in float64, and one of several processes of `test_grad_cache.py` that computes them."""

import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from vlm_data.loading import Batch
from vlm_data.preprocess import Preprocess
from vlm_data.region_batches import BatchRegions
from vlm_finetune.accumulation import add_micro_batches
from vlm_finetune.devices import accelerator, processes
from vlm_finetune.grad_cache import add_whole_batch
from vlm_finetune.recipe import METHODS
from vlm_models import tiny
from vlm_models.openclip.encoder import OpenClipEncoder
from vlm_models.zero_shot import zero_shot_classifier

ROWS = 24
CLASSES = ("zero", "one", "two", "three")
TEMPLATES = ("a photo of the digit {c}", "the digit {c}", "a sketch of the digit {c}")
TARGETS = (("identity", 0.0), ("identity", 0.1), ("soft", 0.0), ("soft", 0.1))
TARGETS += (("without-collisions", 0.0), ("supervised", 0.0))
CASES = {
    f"{name}-{targets}-{smoothing:g}": (name, {"targets": targets, "label_smoothing": smoothing})
    for name in ("flyp", "carot")
    for targets, smoothing in TARGETS
}
"""The contrastive loss alone, and with distillation from a teacher and the penalties."""
CASES |= {
    "standard": ("standard", {}),
    "region-aware": ("region-aware", {"temperature": 0.5}),
    "region-aware-mean": ("region-aware", {"reduction": "mean", "label_terms": "per-sample", "pooling": "patch"}),
    "region-aware-crop": ("region-aware", {"contrastive_weight": 0.0, "pooling": "crop"}),
    "region-uniform": ("region-uniform", {"relevant": 0.5}),
    "vl-erm": ("vl-erm", {}),
    "vl-gdro": ("vl-gdro", {"step_size": 0.5}),
    "spurious-aware": ("spurious-aware", {"by_feature": 0.3}),
}
"""And what looks at regions, or at groups that follow from them."""


def random_encoder():
    """A dual encoder of 20 000 random weights."""
    vision = {"image_size": 32, "patch_size": 16, "width": 16, "layers": 2, "head_width": 8, "mlp_ratio": 2.0}
    text = {"context_length": tiny.CONTEXT_LENGTH, "vocab_size": 616, "width": 16, "heads": 2, "layers": 1}
    architecture = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}
    return OpenClipEncoder(
        tiny.build_clip(architecture, seed=3),
        tiny.build_tokenizer(),
        spec="random",
        architecture=architecture,
        preprocess=Preprocess(32),
        embedding_dim=12,
    )


def build(name, settings):
    """A method on a random model in float64, whose teacher differs from it."""
    model = zero_shot_classifier(random_encoder(), CLASSES, TEMPLATES)
    module = METHODS.load(name)
    method = module.build(model, module.Config(**settings), 10).double()
    noise = torch.Generator().manual_seed(1)
    for companion in method.companions().values():
        companion.double()
        for parameter in companion.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=noise, dtype=torch.float64)
    return method.train()


def pairs(rows=ROWS, distinct=False):
    """Random images, classes that collide, and captions most of which occur more than once."""
    rng = np.random.default_rng(4)
    images = torch.from_numpy(rng.integers(0, 256, (rows, 3, 32, 32), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, len(CLASSES), rows))
    drawn = rng.integers(0, len(TEMPLATES), rows)
    captions = tuple(TEMPLATES[t].replace("{c}", CLASSES[c]) for t, c in zip(drawn, labels, strict=True))
    if distinct:
        captions = tuple(f"{caption} {row}" for row, caption in enumerate(captions))
    return Batch(torch.arange(rows), images, labels, captions, random_regions(labels, rng))


def random_regions(labels, rng):
    """Up to four boxes per image, a third of them spurious; one image in eight has no known class."""
    counts = rng.integers(0, 5, len(labels))
    image_of = torch.from_numpy(np.repeat(np.arange(len(labels)), counts))
    corners = rng.integers(0, 20, (len(image_of), 2))
    boxes = np.concatenate([corners, corners + rng.integers(4, 13, corners.shape)], axis=1).astype(np.float32)
    spurious = torch.from_numpy(rng.random(len(image_of)) < 1 / 3)
    holds = torch.zeros(len(labels), dtype=torch.bool).index_fill(0, image_of[spurious], True)
    known = torch.where(torch.from_numpy(rng.random(len(labels)) < 1 / 8), -1, labels)
    return BatchRegions(torch.from_numpy(boxes), image_of, spurious, known, holds)


def part(batch, rows):
    """The rows of a slice."""
    whole, first = batch.regions, rows.start
    inside = (whole.image_of >= first) & (whole.image_of < rows.stop)
    image_of = whole.image_of[inside] - first
    facts = (whole.spurious[inside], whole.labels[rows], whole.holds[rows])
    regions = BatchRegions(whole.boxes[inside], image_of, *facts)
    return Batch(batch.indices[rows], batch.images[rows], batch.labels[rows], batch.captions[rows], regions)


def cut(batch, *sizes):
    """The batch in parts of these sizes."""
    ends = np.cumsum(sizes)
    return [part(batch, slice(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def gradients(runner: Accelerator, method, batches, step=1):
    """The terms of the loss, and the gradient of every trained tensor."""
    wrapped = runner.prepare(method)
    if len(batches) == 1:
        terms = add_micro_batches(runner, wrapped, batches, 1, step)
    else:
        terms = add_whole_batch(runner, wrapped, method, batches, step)
    found = {name: p.grad for name, p in method.named_parameters() if p.requires_grad}
    missing = [name for name, gradient in found.items() if gradient is None]
    assert not missing, missing
    return {f"terms/{name}": value.numpy() for name, value in terms.items()} | {
        f"gradient/{name}": gradient.numpy() for name, gradient in found.items()
    }


def main(folder):
    """Write what this process computes for its half of the batch, at once and in three uneven parts."""
    with processes("cpu") as state:
        half = ROWS // state.num_processes
        own = part(pairs(), slice(state.process_index * half, (state.process_index + 1) * half))
        found = {}
        for case, (name, settings) in CASES.items():
            for way, sizes in {"whole": (half,), "parts": (5, 4, half - 9)}.items():
                computed = gradients(accelerator(), build(name, settings), cut(own, *sizes))
                found |= {f"{case}/{way}/{key}": value for key, value in computed.items()}
        np.savez(Path(folder) / f"{state.process_index}.npz", **found)


if __name__ == "__main__":
    main(sys.argv[1])
