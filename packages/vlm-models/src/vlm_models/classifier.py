"""A dual encoder with a linear head on its normalised image features."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_models.interface import DualEncoder

ZERO_SHOT, LINEAR = "zero-shot", "linear"


def unnamed_classes(count: int) -> tuple[str, ...]:
    """Return stand-ins for class names that a weight file does not tell, in the order of its head.

    Example:
        >>> unnamed_classes(3)
        ('#0', '#1', '#2')
    """
    return tuple(f"#{number}" for number in range(count))


class LinearHead(nn.Module):
    """Affine map of normalised features, `logits = (f / ||f||) W^T + b`; the logit scale is part of W.

    A zero feature stays zero instead of becoming NaN. Features are taken to the precision of W: at a scale of 100,
    logits in half precision would be wrong by a tenth.

    Example:
        >>> head = LinearHead(torch.eye(2) * 100)
        >>> head(torch.tensor([[3.0, 4.0]]))
        tensor([[60., 80.]], grad_fn=<AddmmBackward0>)
    """

    def __init__(self, weight: Float[Tensor, "c d"], bias: Float[Tensor, " c"] | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(torch.zeros_like(weight[:, 0]) if bias is None else bias.detach().clone())

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Return the logits of raw features."""
        directions = functional.normalize(features.to(self.weight.dtype), dim=-1)
        return functional.linear(directions, self.weight, self.bias)


class Classifier(nn.Module):
    """An encoder and a head for one list of class names.

    Attributes:
        encoder: both towers; the text tower is kept so that the head can be built again.
        head: (c, d) linear head.
        head_kind: `zero-shot` if the head is a function of the text tower (it is then rebuilt when towers are
            interpolated), `linear` if it was trained.
        class_names: c names, in label order.
        templates: prompt templates the zero-shot head was built from.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        head: LinearHead,
        head_kind: str,
        class_names: Sequence[str],
        templates: Sequence[str],
    ) -> None:
        super().__init__()
        if head.weight.shape != (len(class_names), encoder.embedding_dim):
            raise CallError(
                f"a head of shape {tuple(head.weight.shape)} does not fit {len(class_names)} classes and "
                f"embeddings of size {encoder.embedding_dim}."
            )
        self.encoder = encoder
        self.head = head
        self.head_kind = head_kind
        self.class_names = tuple(class_names)
        self.templates = tuple(templates)
        self.train(encoder.training)  # modules start in training mode; whoever restores it would wake the encoder

    def forward(self, images: Tensor) -> Float[Tensor, "n c"]:
        """Return the logits of a batch of images (see `DualEncoder.encode_image`)."""
        return self.head(self.encoder.encode_image(images))


def require_head(model: object) -> None:
    """Raise unless a model says which class an image shows: towers alone, as `load_model` gives them, do not.

    Raises:
        CallError: tells how to make a classifier of them.
    """
    if isinstance(model, DualEncoder):
        raise CallError(
            f"{model.spec} has no head, so it knows no classes; expected a classifier. Write "
            "vlm_models.zero_shot.zero_shot_classifier(model, benchmark.class_names, benchmark.templates)."
        )
