"""Learned soups: shares of several models by gradient descent (Wortsman et al. 2022, "Model soups", appendix I).

All models are in memory at once, and with them the gradient of one mean: a soup of K models needs that of K + 2.
Running statistics of batch normalisation are averaged like weights, which is not what the mean of the weights would
have seen: expect less of such towers, or estimate the statistics again.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_data.text import prompts
from vlm_models.classifier import Classifier
from vlm_models.errors import CheckpointError, VlmModelsError
from vlm_models.state_comparison import State, check_compatible, widened
from vlm_models.zero_shot import head_weights

EPOCHS = 5
"""Published passes over the held-out set."""
Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]
"""Number of the epoch -> images and labels of its batches."""


class LearnedSoup(NamedTuple):
    """A learned soup and how it came about.

    Attributes:
        state: the mean, tensors in the types of the first model.
        shares: mean share of every model over the tensors that are mixed, summing to 1.
        scale: beta, which logits of the soup were multiplied with in training.
        losses: mean cross-entropy of every epoch, in nats.
    """

    state: dict[str, Tensor]
    shares: list[float]
    scale: float
    losses: list[float]


class MixingWeights(nn.Module):
    """A share of every model, `softmax(a)`, for all tensors alike or for each of them; uniform at the start.

    Tensors that are not floating point are taken from the last model.

    Attributes:
        logits: (1, k) or (tensors, k), zero at the start.
        scale: (), beta, 1 at the start.

    Raises:
        CheckpointError: if there is no model, or keys or shapes differ.

    Example:
        >>> mixing = MixingWeights([{"w": torch.zeros(2)}, {"w": torch.ones(2)}])
        >>> mixing()["w"].tolist()
        [0.5, 0.5]
    """

    def __init__(self, states: Sequence[State], per_tensor: bool = False) -> None:
        super().__init__()
        if not states:
            raise CheckpointError("a soup needs at least one model; none was given.")
        for state in states[1:]:
            check_compatible(states[0], state)
        self._states, self._last = states, states[-1]
        self._mixed = [name for name, tensor in states[0].items() if tensor.is_floating_point()]
        device = next(iter(states[0].values())).device
        self.logits = nn.Parameter(torch.zeros(len(self._mixed) if per_tensor else 1, len(states), device=device))
        self.scale = nn.Parameter(torch.ones((), device=device))

    def shares(self) -> Float[Tensor, "groups k"]:
        """Return the share of every model, of rows that sum to 1."""
        return self.logits.softmax(dim=1)

    def forward(self) -> dict[str, Tensor]:
        """Return the mean, in float32 at least; it has a gradient by the shares."""
        shares = self.shares().expand(len(self._mixed), -1)
        found = {name: tensor for name, tensor in self._last.items() if not tensor.is_floating_point()}
        for name, row in zip(self._mixed, shares, strict=True):
            parts = (share * widened(state[name], state[name]) for share, state in zip(row, self._states, strict=True))
            found[name] = sum(parts, start=torch.zeros((), device=row.device))
        return {name: found[name] for name in self._last}

    def mean_shares(self) -> list[float]:
        """Return the share of every model, averaged over the tensors."""
        return self.shares().detach().double().mean(dim=0).tolist()

    @torch.no_grad()
    def plain(self) -> dict[str, Tensor]:
        """Return the mean as it is now, in the types of the first model and without gradient."""
        return {name: t.to(self._states[0][name].dtype, copy=True) for name, t in self().items()}


def learned_soup(
    states: Sequence[State],
    logits: Callable[[Mapping[str, Tensor], Tensor], Float[Tensor, "b c"]],
    batches: Batches,
    *,
    per_tensor: bool = False,
    epochs: int = EPOCHS,
    lr: float = 0.05,
) -> LearnedSoup:
    """Learn the shares of several models on held-out images: AdamW without weight decay on the cross-entropy.

    Logits of the mean are multiplied by a scale that is learnt, too: it changes confidence, and no prediction.

    Args:
        states: all models, in memory.
        logits: of a batch of images by a model with these tensors, differentiable by them.
        batches: of the held-out set, such as ID validation; never of a test set.
        per_tensor: a share for every tensor instead of one for all.
        epochs: passes over the held-out set; 0 gives the uniform soup.
        lr: learning rate.

    Raises:
        CheckpointError, VlmModelsError: if models do not fit together, or the loss is not finite.

    Example:
        >>> models = [{"w": torch.eye(2)}, {"w": -torch.eye(2)}]
        >>> data = [(torch.eye(2), torch.tensor([0, 1]))]
        >>> soup = learned_soup(models, lambda state, x: x @ state["w"], lambda epoch: data)
        >>> soup.shares[0] > soup.shares[1]
        True
    """
    mixing = MixingWeights(states, per_tensor)
    optimizer = torch.optim.AdamW(mixing.parameters(), lr=lr, weight_decay=0.0)
    losses = []
    for epoch in range(epochs):
        total, count = 0.0, 0
        for images, labels in batches(epoch):
            optimizer.zero_grad()
            loss = functional.cross_entropy(mixing.scale * logits(mixing(), images).float(), labels)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item() * len(labels), count + len(labels)
        losses.append(_finite(total, count, epoch))
    return LearnedSoup(mixing.plain(), mixing.mean_shares(), mixing.scale.item(), losses)


def _finite(total: float, count: int, epoch: int) -> float:
    if not count:
        raise CallError("a learned soup needs held-out images; there are none. Label the validation split.")
    if not math.isfinite(total):
        raise VlmModelsError(
            f"the loss of the mean is {total / count} in epoch {epoch + 1}; expected a number. Leave out models whose "
            "predictions are none, or take a smaller learning rate."
        )
    return total / count


class SoupClassifier(nn.Module):
    """Logits of a classifier with other tensors than its own, differentiable by them.

    Args:
        model: in evaluation mode; gives architecture, class names and templates.
        rebuilds_head: build the head from the text tower at every call, as that of a mean of zero-shot classifiers is
            built; costs a pass of classes x templates prompts, with gradient.
    """

    def __init__(self, model: Classifier, rebuilds_head: bool) -> None:
        super().__init__()
        self.model = model
        self._tokens: Tensor | None = None
        if rebuilds_head:
            texts = [text for texts in prompts(model.class_names, model.templates) for text in texts]
            self._tokens = model.encoder.tokenize(texts).to(next(model.parameters()).device)

    def logits(self, state: Mapping[str, Tensor], images: Tensor) -> Float[Tensor, "b c"]:
        """Return the logits of images by the classifier with these tensors, named as in it."""
        return functional_call(self, {f"model.{name}": tensor for name, tensor in state.items()}, (images,))

    def forward(self, images: Tensor) -> Float[Tensor, "b c"]:
        """Return the logits of images."""
        if self._tokens is None:
            return self.model(images)
        encoder, count = self.model.encoder, len(self.model.class_names)
        texts = encoder.encode_text(self._tokens).float()
        weight = head_weights(texts.view(count, -1, texts.shape[1]), encoder.logit_scale)
        directions = functional.normalize(encoder.encode_image(images).float(), dim=-1)
        found = functional.linear(directions, weight)
        return found if encoder.logit_bias is None else found + encoder.logit_bias
