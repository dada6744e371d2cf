"""Linear probe by AdamW from a random head, with the weight decay that ID validation prefers (CLIP_benchmark)."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from vlm_data.loading import epoch_order
from vlm_finetune.head_search import Candidate, LabelledFeatures, Past, SearchData
from vlm_finetune.optim import adamw
from vlm_finetune.recipe import TrainingSettings
from vlm_finetune.schedule import SCHEDULES
from vlm_finetune.weight_decay_search import peak_search, weight_decay
from vlm_models.classifier import LinearHead

MOVES_TOWERS = False
"""There is nothing in it that low-rank adapters could stand in for."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `linear-probe-adamw`; of `[training]` it reads epochs, batch size, rates, schedule, betas and seed.

    Attributes:
        train_on_validation: fit the last head, with the chosen weight decay, on training and validation images
            together, as CLIP_benchmark does. Whatever is chosen on ID validation afterwards (an alpha, a temperature)
            is then chosen on training images.
    """

    train_on_validation: bool = False


def search(config: Config, training: TrainingSettings, data: SearchData, past: Past) -> Iterator[Candidate]:
    """Yield a head for every weight decay that `weight_decay_search` asks for, then the one that is kept.

    Each is trained from the same random head in the same order of images; none is trained twice, but for the last.
    Without labelled validation images there is nothing to choose by, and the weight decay is 0.
    """
    known = {facts["index"]: facts["val_accuracy"] for facts in past.facts if "index" in facts}
    decay, train = 0.0, data.train
    if len(data.val.labels):
        looking = peak_search()
        index = next(looking)
        try:
            while True:
                if index not in known:
                    candidate = _candidate(data.train, data, weight_decay(index), training, {"index": index})
                    known[index] = candidate.facts["val_accuracy"]
                    yield candidate
                index = looking.send(known[index])
        except StopIteration as ended:
            decay = weight_decay(ended.value.best)
        train = _joined(data.train, data.val) if config.train_on_validation else data.train
    if not past.kept:
        facts = {"images": len(train.labels)}
        yield dataclasses.replace(_candidate(train, data, decay, training, facts), is_kept=True)


def _candidate(
    train: LabelledFeatures, data: SearchData, decay: float, training: TrainingSettings, facts: dict[str, int]
) -> Candidate:
    head = initial_head(len(data.class_names), train.features.shape[1], training.seed).to(train.features.device)
    size = min(training.batch_size, len(train.labels))
    orders = [torch.from_numpy(epoch_order(len(train.labels), training.seed, e)) for e in range(training.epochs)]
    train_head(head, train, [list(order.split(size)) for order in orders], training, decay)
    return Candidate(head, {"weight_decay": decay, **facts, **data.val.judge(head)}, is_kept=False)


def initial_head(classes: int, width: int, seed: int) -> LinearHead:
    """Return a head as PyTorch starts a linear layer: uniform within `1 / sqrt(width)`, from its own generator.

    Example:
        >>> initial_head(3, 4, seed=0).weight.abs().max() <= 0.5
        tensor(True)
    """
    generator, bound = torch.Generator().manual_seed(seed), 1 / math.sqrt(width)
    draws = torch.rand(classes, width + 1, generator=generator) * 2 * bound - bound
    return LinearHead(draws[:, :width], draws[:, width])


def train_head(
    head: LinearHead,
    train: LabelledFeatures,
    epochs: Sequence[Sequence[Tensor]],
    training: TrainingSettings,
    decay: float,
) -> None:
    """Train a head in place by AdamW on the cross-entropy, the rate set at every step.

    Args:
        head: where it starts.
        train: features and labels.
        epochs: for every epoch the rows of each batch; a last batch may be shorter.
        training: rate, schedule, warm-up and betas.
        decay: weight decay, of the bias, too.
    """
    features, labels = train.features, train.labels
    optimizer = adamw(head, training.lr, decay, (training.beta1, training.beta2))
    batches = [rows.to(labels.device) for epoch in epochs for rows in epoch]
    warmup, schedule = training.warmup_steps(len(batches)), SCHEDULES[training.schedule]
    for step, rows in enumerate(batches):
        optimizer.param_groups[0]["lr"] = schedule(step, training.lr, warmup, len(batches), training.min_lr)
        optimizer.zero_grad()
        functional.cross_entropy(head(features[rows]), labels[rows]).backward()
        optimizer.step()


def _joined(one: LabelledFeatures, other: LabelledFeatures) -> LabelledFeatures:
    return LabelledFeatures(torch.cat([one.features, other.features]), torch.cat([one.labels, other.labels]))
