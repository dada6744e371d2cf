"""The three stages of pre-training.

Contrastive training from nothing stays at chance on this data: the features of the ten class prompts start almost
parallel and a batch holds every class many times. So the image tower first learns with labels, then the text tower
learns to describe its features, and only then both are trained together.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import open_clip
import torch
from jaxtyping import Float, Int64
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn import functional

from vlm_data.digits.colours import COLOUR_NAMES
from vlm_models.pretraining.images import Chunk
from vlm_models.tiny import EMBEDDING_DIM, PREPROCESS

Report = Callable[[str], None]
_CONTRASTIVE_BATCH = 128
_SUPERVISED_BATCH = 64
_PASSES = 2
_COLOUR_WEIGHT = 0.3
_WARMUP_STEPS = 40
_LARGEST_SCALE = 100.0
_TOKEN_GAIN = 10.0
_REPORT_EVERY = 100


def learning_rate_factor(step: int, span: float) -> float:
    """Return the factor on the peak learning rate: linear warm-up of 40 steps, then a cosine down to 5 % at `span`.

    Example:
        >>> learning_rate_factor(0, 1000.0), learning_rate_factor(1000, 1000.0)
        (0.025, 0.05)
    """
    warmup = min(1.0, (step + 1) / _WARMUP_STEPS)
    return warmup * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / span))))


def _train(
    losses: Iterator[Tensor], parameters: Iterable[nn.Parameter], lr: float, span: float, name: str, report: Report
) -> None:
    trained = list(parameters)
    matrices = [p for p in trained if p.ndim >= 2]
    others = [p for p in trained if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))
    for step, loss in enumerate(losses):
        for group in optimiser.param_groups:
            group["lr"] = lr * learning_rate_factor(step, span)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % _REPORT_EVERY == 0:
            report(f"{name}: step {step + 1}, loss {loss.item():.3f}")


def _batches(n: int, size: int, steps: int, rng: np.random.Generator) -> Iterator[Int64[Tensor, " b"]]:
    per_pass = n // size
    for done in range(0, steps, per_pass):
        order = torch.from_numpy(rng.permutation(n))
        yield from order.split(size)[: min(per_pass, steps - done)]


def supervise_image_tower(
    clip: open_clip.CLIP, chunks: Sequence[Chunk], rng: np.random.Generator, lr: float, report: Report
) -> None:
    """Stage 1: the image tower learns digit, ink and ground with three linear heads that are thrown away.

    The loss is CE(digit) + 0.3 (CE(ink) + CE(ground)); without the colour heads the model cannot name colours later.
    The heads see embeddings enlarged by sqrt(d), a larger learning rate for the heads alone: reading starts sooner.
    Chunks are visited in order, twice each. The cosine spans 1.3 times the steps, so the rate stays high at the end.
    """
    outputs, gain = 10 + 2 * len(COLOUR_NAMES), math.sqrt(EMBEDDING_DIM)
    heads = nn.utils.skip_init(nn.Linear, EMBEDDING_DIM, outputs)
    weight = torch.from_numpy(rng.uniform(-1 / gain, 1 / gain, (outputs, EMBEDDING_DIM))).float()
    heads.load_state_dict({"weight": weight, "bias": torch.zeros(outputs)})
    steps = [_PASSES * len(chunk) // _SUPERVISED_BATCH for chunk in chunks]

    def losses() -> Iterator[Tensor]:
        for chunk, count in zip(chunks, steps, strict=True):
            for rows in _batches(len(chunk), _SUPERVISED_BATCH, count, rng):
                scores = heads(gain * clip.encode_image(PREPROCESS.normalise(chunk.images[rows])))
                digit, ink, ground = scores.split((10, len(COLOUR_NAMES), len(COLOUR_NAMES)), dim=1)
                colours = functional.cross_entropy(ink, chunk.ink[rows])
                colours = colours + functional.cross_entropy(ground, chunk.ground[rows])
                yield functional.cross_entropy(digit, chunk.digits[rows]) + _COLOUR_WEIGHT * colours

    _train(losses(), [*clip.visual.parameters(), *heads.parameters()], lr, 1.3 * sum(steps), "image tower", report)


def describe_frozen_images(
    clip: open_clip.CLIP,
    tokenizer: SimpleTokenizer,
    chunk: Chunk,
    rng: np.random.Generator,
    *,
    steps: int,
    lr: float,
    report: Report,
) -> None:
    """Stage 2: the text tower and the logit scale learn to match captions to the features of the finished image tower.

    The token table is enlarged tenfold first: at its initial scale all captions look alike to the text tower.
    """
    with torch.no_grad():
        clip.get_parameter("token_embedding.weight").mul_(_TOKEN_GAIN)
        parts = PREPROCESS.normalise(chunk.images).split(1000)
        features = torch.cat([clip.encode_image(part, normalize=True) for part in parts])
    tokens = tokenizer(chunk.captions)

    def losses() -> Iterator[Tensor]:
        for rows in _batches(len(chunk), _CONTRASTIVE_BATCH, steps, rng):
            yield symmetric_loss(features[rows], clip.encode_text(tokens[rows], normalize=True), _scale(clip))

    image_parameters = set(clip.visual.parameters())
    trained = [p for p in clip.parameters() if p not in image_parameters]
    _train(losses(), trained, lr, float(steps), "text tower", report)


def align_both_towers(
    clip: open_clip.CLIP,
    tokenizer: SimpleTokenizer,
    chunk: Chunk,
    rng: np.random.Generator,
    *,
    lr: float,
    report: Report,
) -> None:
    """Stage 3: contrastive training of both towers, two passes over the chunk."""
    tokens = tokenizer(chunk.captions)
    steps = _PASSES * (len(chunk) // _CONTRASTIVE_BATCH)

    def losses() -> Iterator[Tensor]:
        for rows in _batches(len(chunk), _CONTRASTIVE_BATCH, steps, rng):
            images = clip.encode_image(PREPROCESS.normalise(chunk.images[rows]), normalize=True)
            yield symmetric_loss(images, clip.encode_text(tokens[rows], normalize=True), _scale(clip))

    _train(losses(), clip.parameters(), lr, float(steps), "both towers", report)


def _scale(clip: open_clip.CLIP) -> Float[Tensor, ""]:
    return clip.logit_scale.exp().clamp(max=_LARGEST_SCALE)


def symmetric_loss(
    images: Float[Tensor, "n d"], texts: Float[Tensor, "n d"], scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Return the mean cross entropy of finding the text of each image and the image of each text.

    Radford et al. 2021, figure 3; both inputs are normalised, the i-th text belongs to the i-th image.

    Example:
        >>> symmetric_loss(torch.eye(2), torch.eye(2), torch.tensor(0.0))
        tensor(0.6931)
    """
    logits = scale * images @ texts.T
    targets = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2
