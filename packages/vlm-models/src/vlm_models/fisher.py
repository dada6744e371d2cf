"""Diagonal Fisher information of a classifier: how much each weight matters for what the model says."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.loading import evaluation_batches
from vlm_data.progress import Progress, silent
from vlm_models.classifier import Classifier
from vlm_models.errors import reason
from vlm_models.interface import evaluating

GRADIENT_MEMORY = 2**30
"""Bytes that the gradients of all examples of one chunk may take."""
Weights = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Fisher:
    """Diagonal Fisher information.

    Attributes:
        information: by name of the parameter, a value >= 0 for every weight; parameters that the logits do not depend
            on, such as the text tower, and frozen ones are left out.
        examples: how many it is the mean over.
        slow_because: why examples were taken one at a time; empty if they were batched.
    """

    information: dict[str, Tensor]
    examples: int
    slow_because: str = ""


def fisher_information(
    model: Classifier,
    dataset: ImageDataset,
    *,
    seed: int = 0,
    batch_size: int = 64,
    memory: int = GRADIENT_MEMORY,
    progress: Progress = silent,
) -> Fisher:
    """Estimate `F_j = mean_x (d/d theta_j log p(y | x))^2` with one label y drawn from the model for each image x.

    Labels of the data are not used (Matena and Raffel 2022, section 3: the true, not the empirical Fisher information).
    Images are prepared as for evaluation. The label of an image depends on the seed and its position only, not on
    batches.

    Args:
        model: a classifier on the device to use; it runs in evaluation mode and is not changed.
        dataset: what to estimate on; training data, since test images shall not shape a model.
        seed: of the draws of labels.
        batch_size: images read at a time.
        memory: bytes that per-example gradients may take at a time.
        progress: told about batches.

    Raises:
        CallError: if there are no images or nothing is trainable.

    Example:
        >>> from vlm_data import load_benchmark
        >>> from vlm_models.zero_shot import load_classifier
        >>> digits = load_benchmark("digits", limit=4)
        >>> found = fisher_information(load_classifier("tiny", digits.class_names, digits.templates), digits.train)
        >>> found.examples, found.information["head.weight"].shape, found.slow_because
        (4, torch.Size([10, 64]), '')
    """
    gradients = SquaredGradients(model, memory)
    for images, labels in _with_drawn_labels(model, dataset, seed, batch_size, progress):
        gradients.add(images, labels)
    return gradients.mean()


def _with_drawn_labels(
    model: Classifier, dataset: ImageDataset, seed: int, batch_size: int, progress: Progress
) -> Iterator[tuple[Tensor, Int64[Tensor, " n"]]]:
    """Yield every batch of images with labels drawn from the model, which is in evaluation mode meanwhile."""
    if not len(dataset):
        raise CallError(f"{dataset.name} ({dataset.split}) has no images; expected at least one.")
    device = next(model.parameters()).device
    draws = torch.rand(len(dataset), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    batches = evaluation_batches(dataset, model.encoder.preprocess, batch_size)
    total = len(range(0, len(dataset), batch_size))
    with evaluating(model):
        for done, batch in enumerate(batches, start=1):
            images = batch.images.to(device)
            with torch.no_grad():
                labels = _drawn(model(images), draws[batch.indices.cpu()])
            yield images, labels
            progress(f"Fisher information on {dataset.name} ({dataset.split})", done, total)


def _drawn(logits: Float[Tensor, "n c"], draws: Float[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Return one class per row, drawn from the softmax of the logits by inverting its distribution function."""
    steps = logits.double().softmax(dim=1).cumsum(dim=1)
    found = torch.searchsorted(steps, draws.to(steps.device)[:, None], right=True)[:, 0]
    return found.clamp(max=logits.shape[1] - 1)  # rounding may leave the last step below one


class SquaredGradients:
    """Sums the squared gradients of the cross-entropy at given labels, example by example.

    Gradients of a chunk of examples are taken at once (`vmap` of `grad`); where an operation of a tower knows no
    `vmap`, one at a time, with the same result.

    Args:
        model: a classifier in evaluation mode.
        memory: bytes that the gradients of a chunk may take.

    Raises:
        CallError: if nothing is trainable.
    """

    def __init__(self, model: Classifier, memory: int = GRADIENT_MEMORY) -> None:
        self._model, self._memory = model, memory
        self._weights: dict[str, Tensor] = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        if not self._weights:
            raise CallError(f"no parameter of {model.encoder.spec} is trainable; expected some. Unfreeze the model.")
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._slow_because = ""

    def add(self, images: Tensor, labels: Int64[Tensor, " n"]) -> None:
        """Add the squared gradients of a batch of images, each with its label."""
        if not self._count:
            self._keep_what_is_used(images[:1], labels[:1])
        each = 4 * sum(weight.numel() for weight in self._weights.values())
        size = max(1, self._memory // each)
        for some, own in zip(images.split(size), labels.to(images.device).split(size), strict=True):
            for name, squares in self._squares(some, own).items():
                self._sums[name] += squares
        self._count += len(images)

    def mean(self) -> Fisher:
        """Return the mean of what was added."""
        information = {name: total / self._count for name, total in self._sums.items()}
        return Fisher(information, self._count, self._slow_because)

    def _keep_what_is_used(self, images: Tensor, labels: Tensor) -> None:
        leaves = {name: weight.clone().requires_grad_() for name, weight in self._weights.items()}
        loss = self._loss(leaves, images[0], labels[0])
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        used = {name for name, gradient in zip(leaves, found, strict=True) if gradient is not None}
        self._weights = {name: weight for name, weight in self._weights.items() if name in used}
        self._sums = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in self._weights.items()}

    def _loss(self, weights: Weights, image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(self._model, dict(weights), (image[None],))
        return functional.cross_entropy(logits.float(), label[None])

    def _squares(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if not self._slow_because:
            try:
                return self._batched(images, labels)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, NotImplementedError) as error:  # what an operation without a rule for vmap raises
                self._slow_because = reason(error)
        squares = {name: torch.zeros_like(total) for name, total in self._sums.items()}
        gradient = _gradient(self._loss)
        for image, label in zip(images, labels, strict=True):
            for name, one in gradient(self._weights, image, label).items():
                squares[name] += one.float().square()
        return squares

    def _batched(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with _attention_for_vmap():
            gradients = vmap(grad(self._loss), in_dims=(None, 0, 0))(self._weights, images, labels)
        return {name: found.float().square().sum(dim=0) for name, found in gradients.items()}


@contextlib.contextmanager
def _attention_for_vmap() -> Iterator[None]:
    """Compute attention by plain products: fused kernels know no `vmap`, and would be looped over with a warning."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _gradient(
    loss: Callable[[Weights, Tensor, Tensor], Tensor],
) -> Callable[[Weights, Tensor, Tensor], dict[str, Tensor]]:
    """Return the gradient of a loss by its weights, without transformations of functions."""

    def gradient(weights: Weights, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        found = torch.autograd.grad(loss(leaves, image, label), list(leaves.values()))
        return dict(zip(leaves, found, strict=True))

    return gradient
