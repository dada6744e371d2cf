"""Relevance maps of a batch: one forward pass gives prediction and map."""

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vlm_data.errors import CallError
from vlm_explain.relevance.heatmap import heat_maps
from vlm_explain.relevance.options import METHODS, RelevanceOptions
from vlm_explain.relevance.score import Score
from vlm_explain.relevance.state import undisturbed
from vlm_models.capabilities import require
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder
from vlm_models.zero_shot import zero_shot_classifier


@dataclasses.dataclass(frozen=True)
class Explained:
    """What a batch was taken for, and by what.

    Attributes:
        maps: relevance per pixel, stretched to [0, 1] per image; zero everywhere where it is undefined.
        flat: whether the relevance of an image is undefined, see `heat_maps`.
        logits: of the model for the same images, from the same forward pass.
        targets: the class that is explained of every image.
        raw: relevance per patch before it was enlarged and stretched.
    """

    maps: Float[Tensor, "n h w"]
    flat: Bool[Tensor, " n"]
    logits: Float[Tensor, "n c"]
    targets: Int64[Tensor, " n"]
    raw: Float[Tensor, "n rows columns"]

    @property
    def predicted(self) -> Int64[Tensor, " n"]:
        """The class with the largest logit."""
        return self.logits.argmax(dim=1)


def explain_batch(
    model: Classifier | DualEncoder,
    images: Tensor,
    targets: Tensor | Sequence[str] | None,
    options: RelevanceOptions,
    *,
    size: tuple[int, int] | None = None,
) -> Explained:
    """Return relevance maps and logits of a batch; the model is left as it was found.

    Works inside `torch.no_grad` and `torch.inference_mode` too. The map of an image depends on no other image.

    Args:
        model: a classifier, or a dual encoder whose classes are then the different texts.
        images: (n, 3, h, w), uint8 or normalised already; moved to the device of the model.
        targets: (n,) class indices for a classifier (None if the target is not the label), n texts for a dual encoder.
        options: method, layers, target and scalar.
        size: height and width of the maps; None = those of the images.

    Raises:
        CapabilityError: if the model cannot do what the method needs.
        CallError: if the targets do not fit the images or the classes, or maps of this size have no pixel.

    Example:
        >>> from vlm_models import load_encoder
        >>> images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
        >>> found = explain_batch(load_encoder("tiny"), images, ["the digit two", "the digit six"], RelevanceOptions())
        >>> found.maps.shape, found.logits.shape, found.raw.shape
        (torch.Size([2, 32, 32]), torch.Size([2, 2]), torch.Size([2, 4, 4]))
    """
    method = METHODS.load(options.method)
    encoder = model.encoder if isinstance(model, Classifier) else model
    for capability in method.INFO.capabilities:
        if capability not in encoder.capabilities:
            raise require(encoder, capability)
    classifier, labels = _with_labels(model, targets)
    _check(images, labels, size)
    score_of = Score(classifier, labels, options)
    with undisturbed(classifier):
        images = images.to(classifier.head.weight.device)
        raw, logits = method.relevance(
            classifier, images.clone() if images.is_inference() else images, score_of, options
        )
        maps, flat = heat_maps(raw, size or (images.shape[-2], images.shape[-1]))
    return Explained(maps, flat, logits, score_of.targets(logits), raw)


def relevance_maps(
    model: Classifier | DualEncoder,
    images: Tensor,
    targets: Tensor | Sequence[str] | None,
    *,
    method: str = "attention",
    layers: str = "last",
    scalar: str = "logit",
    target: str = "label",
    size: tuple[int, int] | None = None,
) -> Float[Tensor, "n h w"]:
    """Return where in each image the evidence for its target lies: maps in [0, 1], see `explain_batch`.

    A map that is zero everywhere is undefined: nothing in the image spoke for the target.

    Example:
        >>> from vlm_models import load_encoder
        >>> images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
        >>> relevance_maps(load_encoder("tiny"), images, ["the digit two"]).shape
        torch.Size([1, 32, 32])
    """
    options = RelevanceOptions(method, layers, target, scalar)
    return explain_batch(model, images, targets, options, size=size).maps


def _with_labels(
    model: Classifier | DualEncoder, targets: Tensor | Sequence[str] | None
) -> tuple[Classifier, Tensor | None]:
    """Return a classifier and class indices; of a dual encoder the classes are the different texts."""
    if isinstance(model, Classifier):
        if targets is not None and not isinstance(targets, Tensor):
            raise CallError("a classifier has its classes; expected a tensor of class indices, not texts.")
        return model, targets
    if targets is None or isinstance(targets, Tensor | str) or not all(isinstance(text, str) for text in targets):
        raise CallError("a dual encoder has no classes of its own; expected one text for every image, as a list.")
    texts = list(dict.fromkeys(targets))
    with undisturbed(model):
        classifier = zero_shot_classifier(model, texts, ["{c}"])
    return classifier, torch.tensor([texts.index(text) for text in targets])


def _check(images: Tensor, labels: Tensor | None, size: tuple[int, int] | None) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise CallError(f"images of shape {tuple(images.shape)}; expected (n, 3, height, width) with at least one.")
    if labels is not None and labels.shape != (len(images),):
        raise CallError(f"targets of shape {tuple(labels.shape)} for {len(images)} images; expected one for each.")
    if size is not None and min(size) < 1:
        raise CallError(f"maps of size {size}; expected height and width in pixels, 1 or more, or None.")
