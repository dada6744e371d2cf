"""Both sanity checks of relevance maps, as one result of plain values."""

import dataclasses
import math
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from vlm_data.progress import Progress, silent
from vlm_explain.checking.deletion import DeletionCheck, check_deletion
from vlm_explain.checking.randomisation import RandomisationCheck, check_randomisation
from vlm_explain.rationale.perturbation import STANDARD, Perturbation
from vlm_explain.relevance import RelevanceOptions
from vlm_models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class MapChecks:
    """What is known about whether maps of a model can be trusted.

    Attributes:
        randomisation: do they depend on what the model learnt.
        deletion: does the answer depend on them.
    """

    randomisation: RandomisationCheck
    deletion: DeletionCheck

    @property
    def verdicts(self) -> tuple[str, str]:
        """One sentence per check."""
        return self.randomisation.verdict, self.deletion.verdict

    def document(self) -> dict[str, Any]:
        """Return everything as values that JSON can hold; what is undefined is None."""
        return {
            "randomisation": _plain(dataclasses.asdict(self.randomisation))
            | {"passed": self.randomisation.passed, "verdict": self.randomisation.verdict},
            "deletion": _plain(dataclasses.asdict(self.deletion))
            | {"passed": self.deletion.passed, "verdict": self.deletion.verdict},
        }


def check_maps(
    model: Classifier,
    images: Tensor,
    labels: Int64[Tensor, " n"] | None,
    options: RelevanceOptions,
    *,
    perturbation: Perturbation = STANDARD,
    seed: int = 0,
    batch_size: int = 64,
    progress: Progress = silent,
) -> MapChecks:
    """Check maps of a model by randomising its weights and by deleting what they call relevant.

    Args:
        model: it stays as it is.
        images: (n, 3, h, w), uint8 or normalised already; some dozens tell enough.
        labels: class of every image; None if the target is not the label.
        options: of the maps.
        perturbation: how images are deleted.
        seed: of randomised weights.
        batch_size: images at once.
        progress: told about both.

    Raises:
        CapabilityError, CallError: as for `vlm_explain.relevance.explain_batch`.

    Example:
        >>> import torch
        >>> from vlm_data import load_benchmark
        >>> from vlm_models import load_encoder
        >>> from vlm_models.zero_shot import zero_shot_classifier
        >>> digits = load_benchmark("digits", limit=20)
        >>> model = zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)
        >>> images = torch.from_numpy(digits.test.images).permute(0, 3, 1, 2)
        >>> found = check_maps(model, images, torch.from_numpy(digits.test.labels), RelevanceOptions())
        >>> found.randomisation.stages[:2], found.deletion.n
        (('head', 'projection'), 20)
    """
    return MapChecks(
        check_randomisation(model, images, labels, options, seed=seed, batch_size=batch_size, progress=progress),
        check_deletion(
            model, images, labels, options, perturbation=perturbation, batch_size=batch_size, progress=progress
        ),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
