"""The number per image whose relevance is asked for, as a function of its logits."""

from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vlm_data.errors import CallError, unknown_name
from vlm_explain.relevance.options import CONTRAST, LABEL, NAMED, PREDICTION, RelevanceOptions
from vlm_models.classifier import Classifier


class Score:
    """What is explained of a batch: one number per image, a differentiable function of its logits alone.

    Args:
        model: its head gives scale and bias of the logits, its class names the class of `class:NAME`.
        labels: class index of every image; None if they are not known.
        options: target and scalar.

    Raises:
        CallError: for a class that is not one of the model's, labels that are missing or out of range, and for the
            contrast of a single class.
    """

    def __init__(self, model: Classifier, labels: Int64[Tensor, " n"] | None, options: RelevanceOptions) -> None:
        self._head = model.head
        self._options = options
        self._labels = labels
        self._named = None
        count = len(model.class_names)
        if options.target.startswith(NAMED):
            self._named = _class_index(options.target.removeprefix(NAMED), model)
        if options.target == LABEL and labels is None:
            raise CallError("the target `label` needs the class of every image; give it, or choose target=prediction.")
        if options.target == CONTRAST and count < 2:
            raise CallError("there is one class only; a contrast needs another one. Choose target=label.")
        if labels is not None and (labels.is_floating_point() or labels.dtype == torch.bool):
            raise CallError(f"class indices of type {labels.dtype}; expected whole numbers, the places of the classes.")
        if labels is not None and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < count:
            raise CallError(
                f"class indices lie between {int(labels.min())} and {int(labels.max())}, but the model has {count} "
                f"classes; expected 0 to {count - 1}."
            )

    def targets(self, logits: Float[Tensor, "n c"]) -> Int64[Tensor, " n"]:
        """Return the class index that is explained of every image."""
        if self._named is not None:
            return torch.full((len(logits),), self._named, device=logits.device)
        if self._options.target == PREDICTION or self._labels is None:
            return logits.argmax(dim=1)
        return self._labels.to(logits.device, torch.int64, copy=self._labels.is_inference())

    def __call__(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
        """Return the score of every image; its gradient says what is relevant."""
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        chosen = self.targets(logits)[:, None]
        values = self._scalars(logits)
        own = values.gather(1, chosen)[:, 0]
        if self._options.target != CONTRAST:
            return own
        return own - values.scatter(1, chosen, -torch.inf).amax(dim=1)

    def _scalars(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        match cast(str, self._options.scalar):
            case "probability":
                return logits.softmax(dim=1)
            case "cosine":
                lengths = self._head.weight.norm(dim=1).clamp_min(torch.finfo(self._head.weight.dtype).tiny)
                return (logits - self._head.bias) / lengths
            case _:
                return logits


def _class_index(name: str, model: Classifier) -> int:
    names = list(model.class_names)
    if name not in names:
        raise unknown_name("class", name, names)
    return names.index(name)
