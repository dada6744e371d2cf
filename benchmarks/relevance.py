"""What relevance maps cost: batched, against a forward pass of the same images and against one image at a time.

    python benchmarks/relevance.py [--models ViT-B-32 ViT-B-16] [--batch 16] [--one-by-one 4] [--rounds 5]

Zero-shot: the logit of the label's prompt, last layer. Linear head: its logit, all layers. The plain side is the
procedure published with PT and IR (Chefer et al. 2021 for dual encoders), written here: image by image, the image
repeated for every text, the text encoded each time, all parameters in the graph, one gradient call per layer, square
matrices. It predicts in a pass of its own, ours returns prediction and map, so the target is about both; the map alone
is told beside it. Processor time on the CPU (others may be running), time by the clock on a GPU.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlm_explain.relevance import RelevanceOptions, explain_batch
from vlm_models import load_encoder
from vlm_models.classifier import LINEAR, ZERO_SHOT, Classifier, LinearHead, unnamed_classes
from vlm_models.interface import DualEncoder
from vlm_models.zero_shot import head_weights

CLASSES = 100
TARGETS = {"last": (1.5, 2.0), "all": (3.5, 3.5)}
"""Layers: at most so many forward passes, and so many times faster than image by image with its prediction."""


class PlainAttention(nn.Module):
    """Multi-head attention step by step, which keeps its probabilities."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.inner = attention
        self.probabilities = torch.empty(0)

    def forward(self, query: Tensor, *_: object, attn_mask: Tensor | None = None, **__: object) -> tuple[Tensor, None]:
        """Return mixed tokens, as `nn.MultiheadAttention` does without weights."""
        parts = functional.linear(query, self.inner.in_proj_weight, self.inner.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.inner.num_heads, -1)).transpose(1, 2) for part in parts)
        scores = q @ k.transpose(-1, -2) / self.inner.head_dim**0.5
        self.probabilities = (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1)
        mixed = self.probabilities @ v
        return self.inner.out_proj(mixed.transpose(1, 2).flatten(2)), None


class OneByOne:
    """The published procedure on a copy of the model whose attention is computed step by step."""

    def __init__(self, clip: nn.Module, head: LinearHead, tokens: Tensor) -> None:
        self.clip, self.head, self.tokens = clip, head, tokens
        self.blocks = [block.attn for block in clip.visual.transformer.resblocks]

    def zero_shot(self, image: Tensor, label: int) -> Tensor:
        """Return the relevance of patches for the scaled cosine with the prompt of the label, last layer."""
        texts = self.tokens[label : label + 1]
        feature = functional.normalize(self.clip.encode_image(image.repeat(len(texts), 1, 1, 1)), dim=-1)
        text = functional.normalize(self.clip.encode_text(texts), dim=-1)
        score = (self.clip.logit_scale.exp() * feature @ text.T).diagonal().sum()
        return self._relevance(score, len(self.blocks) - 1)

    def linear(self, image: Tensor, label: int) -> Tensor:
        """Return the relevance of patches for the logit of a linear head, all layers."""
        return self._relevance(self.head(self.clip.encode_image(image))[0, label], 0)

    def _relevance(self, score: Tensor, first: int) -> Tensor:
        self.clip.zero_grad()
        tokens = self.blocks[0].probabilities.shape[-1]
        product = torch.eye(tokens, device=score.device).expand(1, tokens, tokens)
        for block in self.blocks[first:]:
            gradient = torch.autograd.grad(score, block.probabilities, retain_graph=True)[0]
            weighted = (gradient.detach() * block.probabilities.detach()).clamp_min(0).mean(dim=1)
            product = product + torch.bmm(weighted, product)
        return product[:, 0, 1:]


def with_plain_attention(clip: nn.Module) -> nn.Module:
    """Return a copy of a model that computes attention step by step in both towers."""
    copied = copy.deepcopy(clip)
    for block in (*copied.visual.transformer.resblocks, *copied.transformer.resblocks):
        block.attn = PlainAttention(block.attn)
    return copied.requires_grad_()


def timed(work: Callable[[], object], device: str) -> tuple[float, object]:
    """Return seconds and result."""
    if device != "cpu":
        torch.cuda.synchronize()
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    result = work()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start, result


def measured(name: str, options: argparse.Namespace) -> bool:
    """Time both sides in turns for one model, print the ratios, and say whether all targets are met."""
    encoder = load_encoder(f"openclip:{name}").to(options.device)
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (options.batch, 3, 224, 224), dtype=torch.uint8, generator=draws).to(options.device)
    labels = torch.randint(0, CLASSES, (options.batch,), generator=draws)
    tokens = torch.randint(1, 400, (CLASSES, 77), generator=draws).to(options.device)
    tokens[:, 0], tokens[:, 7], tokens[:, 8:] = 49406, 49407, 0  # captions of six words
    trained = LinearHead(torch.randn(CLASSES, encoder.embedding_dim, generator=draws)).to(options.device)
    count = min(options.one_by_one, options.batch)
    sides = {
        **batched(encoder, images, labels, tokens, trained),
        **one_by_one(encoder, images[:count], labels, tokens, trained),
    }
    return _compared(name, sides, options, count)


def batched(
    encoder: DualEncoder, images: Tensor, labels: Tensor, tokens: Tensor, trained: LinearHead
) -> dict[str, Callable[[], object]]:
    """Return our two ways, all images at once, and the forward pass that they are compared with."""
    with torch.no_grad():
        zero_shot = LinearHead(head_weights(encoder.encode_text(tokens)[:, None], encoder.logit_scale))
    names = unnamed_classes(CLASSES)
    models = {"last": Classifier(encoder, zero_shot, ZERO_SHOT, names, ["{c}"])}
    models["all"] = Classifier(encoder, trained, LINEAR, names, ["{c}"])

    @torch.no_grad()
    def forward() -> Tensor:
        return encoder.encode_image(images)

    def ours(layers: str) -> object:
        return explain_batch(models[layers], images, labels, RelevanceOptions(layers=layers), size=(224, 224))

    return {"forward": forward} | {f"ours {layers}": partial(ours, layers) for layers in models}


def one_by_one(
    encoder: DualEncoder, images: Tensor, labels: Tensor, tokens: Tensor, trained: LinearHead
) -> dict[str, Callable[[], object]]:
    """Return the published way, image by image, for a zero-shot and for a linear head."""
    single = OneByOne(with_plain_attention(encoder.clip), trained, tokens)
    pixels = encoder.preprocess.normalise(images)

    def plain(way: Callable[[Tensor, int], Tensor]) -> list[Tensor]:
        return [way(pixels[row : row + 1], int(labels[row])) for row in range(len(pixels))]

    return {"plain last": partial(plain, single.zero_shot), "plain all": partial(plain, single.linear)}


def _compared(name: str, sides: dict[str, Callable[[], object]], options: argparse.Namespace, count: int) -> bool:
    times: dict[str, list[float]] = {side: [] for side in sides}
    results: dict[str, object] = {}
    for _ in range(options.rounds + 1):
        for side, work in sides.items():
            seconds, results[side] = timed(work, options.device)
            times[side].append(seconds / (count if side.startswith("plain") else options.batch))
    found = {side: statistics.median(values[1:]) for side, values in times.items()}  # the first round warms up
    print(f"{name}, {options.batch} images together, {count} one by one, {options.rounds} rounds, {options.device}")
    print(f"  forward pass without gradients: {found['forward'] * 1e3:.1f} ms per image")
    fine = True
    for layers, (cost, gain) in TARGETS.items():
        per_image, by_one = found[f"ours {layers}"], found[f"plain {layers}"]
        passes, ratio = per_image / found["forward"], by_one / per_image
        difference = _difference(results[f"ours {layers}"], results[f"plain {layers}"])
        floor, whole = by_one / found["forward"], (by_one + found["forward"]) / per_image
        print(
            f"  {layers:4} layer(s): {per_image * 1e3:.1f} ms per image, {passes:.2f} forward passes (target {cost})\n"
            f"    one by one {by_one * 1e3:.1f} ms: with its separate prediction {whole:.2f} times (target {gain}), "
            f"map alone {ratio:.2f} ({floor:.2f} for one forward pass); maps differ by at most {difference:.1e}"
        )
        fine &= passes <= cost and whole >= gain
        if difference > 1e-4:
            raise SystemExit("the two ways disagree")
    return fine


def _difference(ours: object, rows: object) -> float:
    """Return the largest difference of the enlarged and stretched maps."""
    expected = torch.cat(rows)  # type: ignore[arg-type]
    side = round(expected.shape[1] ** 0.5)
    large = functional.interpolate(expected.unflatten(1, (side, side))[:, None], (224, 224), mode="bilinear")[:, 0]
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    return float(((large - low) / (high - low) - ours.maps[: len(large)]).abs().max())  # type: ignore[attr-defined]


def main() -> None:
    """Measure every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["ViT-B-32", "ViT-B-16"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--one-by-one", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    fine = [measured(name, options) for name in options.models]
    print("all targets met" if all(fine) else "a target was missed")


if __name__ == "__main__":
    main()
