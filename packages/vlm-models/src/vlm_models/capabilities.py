"""What models can do, as names that are checked before anything runs."""

from typing import Protocol

from vlm_data.errors import CallError

CAPABILITIES = {
    "image": "image features",
    "text": "text features, and with them zero-shot heads and contrastive losses",
    "tokens": "tokens of the image tower, for regions",
    "region attention": "the pooling of an image restricted to a region of it",
    "feature map": "the last feature map of a convolutional image tower, for Grad-CAM",
    "vision attention": "attention of the image tower, for relevance maps",
    "text attention": "attention of the text tower",
    "pooling attention": "attention of the head that pools patch tokens",
    "cross attention": "attention of text to image",
    "matching": "whether an image and a text match",
    "adapters": "low-rank adapters (LoRA)",
    "generation": "answers in words",
}
"""Every capability and what it is for."""


class CapabilityError(CallError):
    """A model was asked for something it cannot do."""


class Capable(Protocol):
    """Anything that says what it can do."""

    spec: str
    capabilities: frozenset[str]


def require(model: Capable, capability: str) -> CapabilityError:
    """Return the error for a model that lacks a capability; check `capability in model.capabilities` first.

    Example:
        >>> from vlm_models import load_encoder
        >>> print(require(load_encoder("tiny"), "matching"))
        tiny cannot do matching (whether an image and a text match). It can do: adapters, image, ...
    """
    meaning = CAPABILITIES.get(capability)
    return CapabilityError(
        f"{model.spec} cannot do {capability}{f' ({meaning})' if meaning else ''}. "
        f"It can do: {', '.join(sorted(model.capabilities))}. "
        "Take another model; `vlm models ls` tells what each family can do."
    )
