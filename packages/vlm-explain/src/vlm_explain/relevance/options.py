"""What is explained, by which rule: one set of options with the same defaults for every model and method."""

import dataclasses
from collections.abc import Mapping

from vlm_data.errors import CallError, unknown_name
from vlm_data.registry import Registry
from vlm_models.classifier import ZERO_SHOT, Classifier
from vlm_models.interface import DualEncoder

METHODS = Registry("vlm_explain.relevance.methods", "relevance method")
LABEL, PREDICTION, CONTRAST, NAMED = "label", "prediction", "contrast", "class:"
TARGETS = (LABEL, PREDICTION, CONTRAST)
SCALARS = ("logit", "cosine", "probability")
LAST, ALL = "last", "all"


@dataclasses.dataclass(frozen=True)
class MethodInfo:
    """What a relevance method tells about itself before it is called.

    Attributes:
        summary: one sentence.
        capabilities: what the encoder must be able to do, names of `vlm_models.capabilities`.
        targeted: whether the map depends on the target; without, target and scalar have no effect.
        layered: whether the option `layers` has an effect.
    """

    summary: str
    capabilities: tuple[str, ...] = ()
    targeted: bool = True
    layered: bool = True


@dataclasses.dataclass(frozen=True)
class RelevanceOptions:
    """Choices that decide what a relevance map means.

    A positive factor in front of the score cancels in the map when one layer is used. With several it does not: the
    products of layers grow with higher powers of it. So zero-shot logits (scaled by 100 in CLIP) and logits of a
    trained head are comparable over several layers only as `cosine` or `probability`.

    Attributes:
        method: a file of `vlm_explain.relevance.methods`.
        layers: `last`, `all`, or the first of the layers that are used up to the last: `1` is the first of the tower,
            `-3` the third from the end.
        target: `label`, the class given with the image; `prediction`, the class with the largest logit;
            `class:NAME`, the same class for all images; `contrast`, the label (without labels: the prediction) minus
            the strongest of the other classes.
        scalar: what of the target is explained: its `logit` as the head gives it, scale included; the `cosine` of
            image feature and head row; the `probability` after the softmax.

    Raises:
        CallError: for an unknown method, target or scalar, or layers that are not understood.

    Example:
        >>> RelevanceOptions(layers="all", target="prediction").scalar
        'logit'
    """

    method: str = "attention"
    layers: str = LAST
    target: str = LABEL
    scalar: str = "logit"

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", METHODS.canonical(self.method))
        if self.target not in TARGETS and not self.target.removeprefix(NAMED):
            raise CallError(f"the target {self.target!r} names no class; expected class:NAME, for example class:cat.")
        if self.target not in TARGETS and not self.target.startswith(NAMED):
            raise unknown_name("relevance target", self.target, TARGETS, "A class is written class:NAME.")
        if self.scalar not in SCALARS:
            raise unknown_name("scalar", self.scalar, SCALARS)
        if self.layers not in (LAST, ALL):
            _check_number(self.layers)

    @property
    def needs_labels(self) -> bool:
        """Whether the class of every image has a say in what is explained."""
        return self.target in (LABEL, CONTRAST)

    def first_layer(self, count: int) -> int:
        """Return the first of the layers that are used, counted from 0, in a tower of `count` layers.

        Raises:
            CallError: if the tower has no such layer.

        Example:
            >>> [RelevanceOptions(layers=layers).first_layer(12) for layers in ("last", "all", "2", "-3")]
            [11, 0, 1, 9]
        """
        number = {LAST: -1, ALL: 1}.get(self.layers) or int(self.layers)
        if abs(number) > count:
            raise CallError(
                f"layers={self.layers} starts at a layer that is not there; the tower has {count} layers. "
                f"Expected last, all, or a number from 1 to {count} (or -{count} to -1, from the end)."
            )
        return number - 1 if number > 0 else count + number


def check_effect(method: str, given: Mapping[str, str]) -> None:
    """Refuse choices that a method takes no notice of: its map would not be that of the choice.

    Args:
        method: name of the method.
        given: what was asked for, of `layers`, `target` and `scalar`.

    Raises:
        CallError: if one has no effect.

    Example:
        >>> check_effect("attention", {"layers": "all"})
    """
    info = METHODS.load(method).INFO
    idle = ([] if info.targeted else ["target", "scalar"]) + ([] if info.layered else ["layers"])
    for name in idle:
        if name in given:
            raise CallError(
                f"the relevance method {method} takes no notice of {name}={given[name]}: its maps are the same for "
                f"every one. Leave {name} out, or choose another method."
            )


def _check_number(layers: str) -> None:
    digits = layers.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and int(digits)):
        raise CallError(
            f"layers={layers!r} is not understood; expected last, all, or the first layer as a number: "
            "1 is the first of the tower, -3 the third from the end."
        )


def reference_options(model: Classifier | DualEncoder) -> RelevanceOptions:
    """Return the published choices: last layer for a zero-shot head, all layers for a trained one.

    The layers differ between the two, which confounds every comparison of zero-shot and fine-tuned models; use them to
    reproduce published numbers, and the defaults for anything else.

    Example:
        >>> from vlm_models import load_encoder
        >>> reference_options(load_encoder("tiny")).layers
        'last'
    """
    zero_shot = isinstance(model, DualEncoder) or model.head_kind == ZERO_SHOT
    return RelevanceOptions(layers=LAST if zero_shot else ALL)
