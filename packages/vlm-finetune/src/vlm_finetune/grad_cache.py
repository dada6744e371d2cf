"""The exact gradient of a contrastive batch that is larger than memory (Gao et al. 2021, GradCache)."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import torch
from accelerate import Accelerator
from jaxtyping import Int64
from torch import Tensor, nn

from vlm_data.loading import Batch
from vlm_data.region_batches import BatchRegions
from vlm_finetune.accumulation import synchronised
from vlm_finetune.pair_method import PairMethod
from vlm_finetune.pairs import distinct


@dataclasses.dataclass(frozen=True)
class Share:
    """What one micro-batch has to encode.

    Attributes:
        images: its own (b, ...).
        texts: its share of the distinct captions of the whole batch; none where there are fewer than micro-batches.
        places: where the features stand among those of the whole batch, `images`, `texts` and `regions`.
        regions: of its images; None if the method looks at none.
    """

    images: Tensor
    texts: list[str]
    places: dict[str, slice]
    regions: BatchRegions | None = None


def add_whole_batch(
    accelerator: Accelerator, wrapped: nn.Module, method: PairMethod, batches: Sequence[Batch], step: int
) -> dict[str, Tensor]:
    """Add the gradient of the loss over all micro-batches together to that of the parameters; return its terms.

    Pairs are compared across micro-batches and processes, so this is the step of one large batch, and yet the graph of
    one micro-batch is all that is held at a time. A first pass encodes everything without graph; the loss as a
    function of these features F gives `g = dL/dF`; a second pass encodes each micro-batch again, with the same dropout,
    and back-propagates `sum F g`. What the loss takes from parameters directly, such as the logit scale or a penalty
    on projections, is added once, with the last micro-batch. The price is the first pass: a third more work.

    Batch normalisation in training mode sees a micro-batch, as it does with any accumulation.

    Args:
        accelerator: scales the loss and synchronises processes.
        wrapped: the method as the accelerator prepared it; every pass goes through it.
        method: the method itself.
        batches: the micro-batches of this process.
        step: optimiser steps done so far.
    """
    device = accelerator.device
    shares, rows = shares_of(batches)
    rows, labels = rows.to(device), torch.cat([batch.labels for batch in batches]).to(device)
    parts = [share.regions.to(device) for share in shares if share.regions]
    regions = BatchRegions.joined(parts) if parts else None
    features, constants, states = _without_graph(wrapped, method, shares, step, device)

    def compare() -> dict[str, Tensor]:
        with torch.enable_grad():
            return method.compare(leaves | constants, rows, labels, regions)

    leaves = {name: value.requires_grad_() for name, value in features.items()}
    with torch.no_grad():  # so that a wrapper expects no backward pass of its own
        terms = wrapped(compare, step)
    # no batch need have a region that the loss looks at
    found = torch.autograd.grad(terms["loss"], list(leaves.values()), allow_unused=True, materialize_grads=True)
    gradients = dict(zip(leaves, found, strict=True))
    fixed = {name: value.detach() for name, value in leaves.items()} | constants

    def again(share: Share, last: bool) -> dict[str, Tensor]:
        images = share.images.to(device, non_blocking=True)
        own = method.features(images, share.texts, share.regions and share.regions.to(device))
        surrogate = torch.stack([(own[name] * gradients[name][share.places[name]]).sum() for name in own]).sum()
        return {"loss": surrogate + method.compare(fixed, rows, labels, regions)["loss"] if last else surrogate}

    for share, state in zip(shares, states, strict=True):
        last = share is shares[-1]
        _set_random_state(state, device)
        with synchronised(accelerator, wrapped, last):
            accelerator.backward(wrapped(lambda share=share, last=last: again(share, last), step)["loss"])
    return {name: value.detach() for name, value in terms.items()}


def shares_of(batches: Sequence[Batch]) -> tuple[list[Share], Int64[Tensor, " b"]]:
    """Return what each micro-batch encodes, and for every pair of the whole batch the position of its text.

    A caption that several micro-batches have in common is encoded in one of them. The last share, with which
    processes exchange gradients, has a text in any case: they wait for the gradient of the text tower.

    Example:
        >>> images, labels = torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64)
        >>> batches = [Batch(labels, images, labels, captions) for captions in (("a", "b"), ("b", "c"))]
        >>> shares, rows = shares_of(batches)
        >>> [share.texts for share in shares], rows
        ([['a'], ['b', 'c']], tensor([0, 1, 1, 2]))
    """
    texts, rows = distinct([caption for batch in batches for caption in batch.captions])
    shares, first, first_region = [], 0, 0
    for part, batch in enumerate(batches):
        images = slice(first, first + len(batch.images))
        own = slice(len(texts) * part // len(batches), len(texts) * (part + 1) // len(batches))
        inside = slice(first_region, first_region + (len(batch.regions.boxes) if batch.regions else 0))
        places = {"images": images, "texts": own, "regions": inside}
        shares.append(Share(batch.images, texts[own], places, batch.regions))
        first, first_region = images.stop, inside.stop
    return shares, rows


def _without_graph(
    wrapped: nn.Module, method: PairMethod, shares: Sequence[Share], step: int, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[list[Tensor]]]:
    """Return all features, the constants, and the state of the random generators before each share was encoded."""

    def encode(share: Share) -> dict[str, Tensor]:
        images = share.images.to(device, non_blocking=True)
        moving = method.features(images, share.texts, share.regions and share.regions.to(device))
        names.update(moving)
        return moving | method.constants(images, share.texts, step)

    states, found, names = [], [], dict[str, Tensor]()
    with torch.no_grad(), _unmoved(method.buffers()):
        for share in shares:
            states.append(_random_state(device))
            found.append(wrapped(lambda share=share: encode(share), step))
        whole = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    return (
        {name: value for name, value in whole.items() if name in names},
        {name: value for name, value in whole.items() if name not in names},
        states,
    )


@contextlib.contextmanager
def _unmoved(buffers: Iterable[Tensor]) -> Iterator[None]:
    """Undo what passes do to buffers: running statistics count every image once, in the second pass."""
    before = [(buffer, buffer.clone()) for buffer in buffers]
    yield
    for buffer, value in before:
        buffer.copy_(value)


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return states if device.type == "cpu" else [*states, torch.get_device_module(device).get_rng_state(device)]


def _set_random_state(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.get_device_module(device).set_rng_state(state, device)
