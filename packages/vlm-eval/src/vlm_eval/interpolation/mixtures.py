"""Rules that make one model of two: plain interpolation, an alpha for every layer, weights by Fisher information."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.files import text_hash
from vlm_data.progress import Progress, silent
from vlm_models.classifier import ZERO_SHOT, Classifier
from vlm_models.fisher_files import kept_fisher
from vlm_models.weight_space import State, check_parts, fisher_merge, interpolate, interpolate_layers, layer_alpha

Merge = Callable[[State, State, float], dict[str, Tensor]]
"""(zero-shot tensors, fine-tuned tensors, alpha) -> merged tensors, any part of a classifier by its names there."""


@dataclasses.dataclass(frozen=True)
class Mixture:
    """A rule and what it is called.

    Attributes:
        name: what rows call a model between the two.
        merge: the rule.
        key: what the result depends on beside the two models and alpha; part of hashes and of the folder of tables.
        keeps_ends: whether alpha 0 and 1 give the two models themselves.
    """

    name: str
    merge: Merge
    key: str = ""
    keeps_ends: bool = True


PLAIN = Mixture("interpolated", interpolate)


def heads_are_rebuilt(zero_shot: Classifier, fine_tuned: Classifier) -> bool:
    """Return whether the head of a merged model is built from its text tower: if neither head was trained."""
    return zero_shot.head_kind == fine_tuned.head_kind == ZERO_SHOT


def by_layer(alphas: Mapping[str, float], zero_shot: Classifier, fine_tuned: Classifier) -> Mixture:
    """Return the mixture in which some parts have an alpha of their own; the alpha of a sweep is that of the rest.

    Args:
        alphas: by part, the beginning of the names of its tensors in the classifier, `encoder.clip.visual` or `head`;
            see `vlm_models.weight_space.interpolate_layers`.
        zero_shot: the model at alpha 0.
        fine_tuned: the model at alpha 1.

    Raises:
        CallError: if no tensor belongs to a part, or it is a head that is built again from the text tower.
    """
    names = fine_tuned.state_dict()
    check_parts(names, alphas)
    heads = [part for part in alphas if part.split(".")[0] == "head"]
    if heads and heads_are_rebuilt(zero_shot, fine_tuned):
        raise CallError(
            f"{', '.join(heads)} cannot have an alpha: neither head was trained, so the head of a mixture is built "
            "from its text tower. Name parts of the towers, such as encoder."
        )

    def merge(start: State, end: State, alpha: float) -> dict[str, Tensor]:
        own = {name: layer_alpha(name, alphas, alpha) for name in end}
        return interpolate_layers(start, end, own, alpha)

    key = "layers-" + text_hash(*(f"{part}={float(value)!r}" for part, value in sorted(alphas.items())))
    return Mixture("layer-interpolated", merge, key, keeps_ends=False)


def by_fisher(
    zero_shot: Classifier,
    fine_tuned: Classifier,
    images: ImageDataset,
    folder: Path,
    *,
    samples: int = 512,
    floor: float = 1e-8,
    seed: int = 0,
    progress: Progress = silent,
) -> Mixture:
    """Return the mixture that weighs the two models by their Fisher information, weight by weight.

    See `vlm_models.weight_space.fisher_merge`. What logits do not depend on, such as the text tower behind a finished
    head, is interpolated plainly.

    Args:
        zero_shot: the model at alpha 0.
        fine_tuned: the model at alpha 1.
        images: training images; no test image shall shape a model.
        folder: where the information is kept, see `kept_fisher`.
        samples: images it is estimated on.
        floor: smallest information that a weight counts with.
        seed: of the draws of images and labels.
        progress: told about batches.

    Raises:
        CallError: if there are no images, or `floor` is negative or not finite.
    """
    if not 0 <= floor < math.inf:
        raise CallError(f"the floor of the Fisher information is {floor:g}; expected 0 or more, such as 1e-8.")
    start, end = (
        kept_fisher(model, images, folder, samples=samples, seed=seed, progress=progress).information
        for model in (zero_shot, fine_tuned)
    )

    def merge(one: State, other: State, alpha: float) -> dict[str, Tensor]:
        return fisher_merge(one, other, alpha, start, end, floor)

    key = f"fisher-{text_hash(images.fingerprint, str(samples), repr(floor), str(seed))}"
    return Mixture("fisher-merged", merge, key)
