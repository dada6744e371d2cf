"""Which text describes an image in a training step."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm_data.benchmark import Benchmark
from vlm_data.dataset import UNLABELLED, ImageDataset
from vlm_data.errors import CallError
from vlm_data.text import fill


@dataclasses.dataclass(frozen=True)
class Captioner:
    """Draws one caption per image and epoch: an own caption of the image, else its class name in a random template.

    The draw uses the generator it is given, so it depends on (seed, epoch, image) and on nothing else.

    Example:
        >>> from vlm_data import load_benchmark
        >>> digits = load_benchmark("digits")
        >>> Captioner(digits.class_names, digits.templates).draw(digits.train, 0, np.random.default_rng(0))
        'a picture of a zero'
    """

    class_names: tuple[str, ...]
    templates: tuple[str, ...]

    @classmethod
    def of(cls, benchmark: Benchmark) -> "Captioner":
        """Return the captioner of the names and templates of a benchmark."""
        return cls(benchmark.class_names, benchmark.templates)

    def draw(self, dataset: ImageDataset, index: int, rng: np.random.Generator) -> str:
        """Return the caption of image `index` for this draw.

        Raises:
            CallError: if the image has neither a caption nor a label.
        """
        own = dataset.captions[index] if dataset.captions else ()
        if own:
            return own[int(rng.integers(len(own)))]
        label = int(dataset.labels[index])
        if label == UNLABELLED:
            raise CallError(
                f"sample {dataset.ids[index]!r} of {dataset.name} has neither a caption nor a label; "
                "a contrastive method needs one of them. Add a `title` or a `label` column."
            )
        return fill(self.templates[int(rng.integers(len(self.templates)))], self.class_names[label])


def class_captions(class_names: Sequence[str], templates: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Return one caption per class, each in a template that is drawn for it alone.

    Example:
        >>> class_captions(["cat", "dog"], ["a {c}", "the {c}"], np.random.default_rng(0))
        ['the cat', 'the dog']
    """
    drawn = rng.integers(len(templates), size=len(class_names))
    return [fill(templates[int(index)], name) for index, name in zip(drawn, class_names, strict=True)]
