"""What fine-tuning does to the shifts while it runs: accuracy after every epoch, and a warning when it collapses."""

import functools
from typing import Any

import numpy as np
import torch

from vlm_data.benchmark import Benchmark
from vlm_data.dataset import ImageDataset
from vlm_eval.projection import project
from vlm_finetune.validation import Validator
from vlm_models.classifier import Classifier

_LOST_SHARE = 0.5
"""A shift has collapsed when this share of the zero-shot model's advantage over chance is gone."""


class ShiftTracker:
    """Classifies some images of every natural shift after each epoch; hand it to `finetune(after_epoch=...)`.

    A collapse is reported once per shift, when the model has lost more than half of what the zero-shot model had above
    chance there: `acc - 1/c < (acc_0 - 1/c) / 2`, c classes.

    Attributes:
        start: accuracy of the zero-shot model by data set.
        collapsed: shifts that were reported.
    """

    def __init__(self, benchmark: Benchmark, zero_shot: Classifier, images: int, device: torch.device | str) -> None:
        natural = [shift for shift in benchmark.shifts if shift.group == "natural"] if images else []
        sets = {shift.datasets[0].name: (_sample(shift.datasets[0], images), shift.classes) for shift in natural}
        # a frozen encoder sees every image once, an encoder that moves sees them again each epoch
        self._validators = {
            frozen: {
                name: Validator(data, frozen, functools.partial(project, classes=classes))
                for name, (data, classes) in sets.items()
            }
            for frozen in (False, True)
        }
        self._device = torch.device(device)
        self._chance = {name: 1 / len(classes or benchmark.class_names) for name, (_, classes) in sets.items()}
        self.start = self._accuracies(zero_shot, frozen=False)
        self.collapsed: set[str] = set()

    def __call__(self, classifier: Classifier, frozen_encoder: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the accuracy on every tracked shift for the epoch's event, and events for new collapses."""
        now = self._accuracies(classifier, frozen_encoder)
        fallen = {name for name in now if self._has_collapsed(name, now[name])} - self.collapsed
        self.collapsed |= fallen
        events = [
            {"event": "collapse", "data": name, "zero_shot": self.start[name], "accuracy": now[name]}
            for name in sorted(fallen)
        ]
        return ({"shifts": now} if now else {}), events

    def _accuracies(self, classifier: Classifier, frozen: bool) -> dict[str, float]:
        validators = self._validators[frozen]
        return {name: validator.score(classifier, self._device)[0] for name, validator in validators.items()}

    def _has_collapsed(self, name: str, accuracy: float) -> bool:
        chance = self._chance[name]
        advantage = self.start[name] - chance
        return advantage > 0 and accuracy - chance < (1 - _LOST_SHARE) * advantage


def _sample(dataset: ImageDataset, images: int) -> ImageDataset:
    if len(dataset) <= images:
        return dataset
    return dataset.select(np.sort(np.random.default_rng(0).permutation(len(dataset))[:images]).tolist())
