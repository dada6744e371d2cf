"""Single images explained: what every model answers, why, and where the evidence lies."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vlm_data.dataset import ImageDataset
from vlm_data.evidence_batches import evaluation_masks
from vlm_data.loading import evaluation_batches
from vlm_explain.rationale.judgement import measure
from vlm_explain.relevance import RelevanceOptions, explain_batch
from vlm_models.classifier import Classifier

_AT_ONCE = 16
"""Images of which maps are in memory."""


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """One map of one image.

    Attributes:
        model: name of the model.
        target: the class that is explained.
        target_probability: its probability, a fraction.
        prediction: the class with the largest probability.
        probability: its probability, a fraction.
        heatmap: relevance in [0, 1], zero everywhere where it is undefined.
        status: one of `vlm_data.tables.rationales.STATUSES`.
        measures: how the map lies on the evidence, by name; NaN where undefined.
    """

    model: str
    target: str
    target_probability: float
    prediction: str
    probability: float
    heatmap: Float[np.ndarray, "h w"]
    status: str
    measures: Mapping[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class ExplainedImage:
    """One image as a model sees it, and its maps.

    Attributes:
        name: sample id.
        label: true class; empty where it is not known.
        image: what the models see, after resizing and cropping.
        evidence: mask of the same size; None where nothing is known.
        explanations: of every model that sees these pixels, for every target.
    """

    name: str
    label: str
    image: UInt8[np.ndarray, "h w 3"]
    evidence: Bool[np.ndarray, "h w"] | None
    explanations: tuple[Explanation, ...]


def explain_images(
    dataset: ImageDataset,
    models: Mapping[str, Classifier],
    options: Mapping[str, Sequence[RelevanceOptions]],
    *,
    labelled: bool = True,
) -> Iterator[ExplainedImage]:
    """Yield every image with its maps; models that see other pixels (size, crop) make an entry of their own.

    Args:
        dataset: the images, with evidence as far as it is known.
        models: classifiers by name, each on the device where it shall run.
        options: for every model what is explained of it; several for several classes.
        labelled: whether the labels of the images are known and those of the models' classes.

    Raises:
        CapabilityError, CallError: see `vlm_explain.relevance.explain_batch`.

    Example:
        >>> from vlm_data import load_benchmark
        >>> from vlm_models.zero_shot import load_classifier
        >>> digits = load_benchmark("digits")
        >>> model = load_classifier("tiny", digits.class_names, digits.templates)
        >>> images = explain_images(digits.test.select([0, 1]), {"tiny": model}, {"tiny": [RelevanceOptions()]})
        >>> [(one.label, one.explanations[0].target) for one in images]
        [('eight', 'eight'), ('four', 'four')]
    """
    groups: dict[str, list[str]] = {}
    for name, model in models.items():
        groups.setdefault(model.encoder.preprocess.hash, []).append(name)
    for start in range(0, len(dataset), _AT_ONCE):
        part = dataset.select(range(start, min(start + _AT_ONCE, len(dataset))))
        entries = [
            _explained(part, {name: models[name] for name in names}, options, labelled) for names in groups.values()
        ]
        for of_one_image in zip(*entries, strict=True):
            yield from of_one_image


def _explained(
    part: ImageDataset,
    models: Mapping[str, Classifier],
    options: Mapping[str, Sequence[RelevanceOptions]],
    labelled: bool,
) -> list[ExplainedImage]:
    """Return images with the maps of models that see the same pixels."""
    first = next(iter(models.values()))
    preprocess = first.encoder.preprocess
    masks, known = evaluation_masks(part, np.arange(len(part)), preprocess)
    (batch,) = evaluation_batches(part, preprocess, len(part), workers=0)
    labels = batch.labels if labelled else None
    found: list[list[Explanation]] = [[] for _ in range(len(part))]
    for name, model in models.items():
        for how in options[name]:
            for place, one in enumerate(_explanations(name, model, batch.images, labels, how, masks, known)):
                found[place].append(one)
    pixels = batch.images.permute(0, 2, 3, 1).numpy()
    return [
        ExplainedImage(
            name,
            "" if labels is None else first.class_names[int(labels[place])],
            pixels[place],
            masks[place] if known[place] else None,
            tuple(found[place]),
        )
        for place, name in enumerate(part.ids)
    ]


def _explanations(
    name: str,
    model: Classifier,
    images: Tensor,
    labels: Tensor | None,
    how: RelevanceOptions,
    masks: np.ndarray,
    known: np.ndarray,
) -> list[Explanation]:
    explained = explain_batch(model, images, labels, how)
    targets, maps = explained.targets.tolist(), explained.maps.cpu()
    overlap = measure(maps, torch.from_numpy(masks), known=known, flat=explained.flat.cpu().numpy())
    likely = explained.logits.float().softmax(dim=1).cpu()
    return [
        Explanation(
            name,
            model.class_names[targets[place]],
            float(likely[place, targets[place]]),
            model.class_names[int(explained.predicted[place])],
            float(likely[place].max()),
            maps[place].numpy(),
            overlap.status[place],
            {measure_name: float(values[place]) for measure_name, values in overlap.measures.items()},
        )
        for place in range(len(maps))
    ]
