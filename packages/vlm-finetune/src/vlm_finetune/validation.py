"""Scores on the validation split that decide which epoch is kept."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from vlm_data.dataset import UNLABELLED, ImageDataset
from vlm_models.classifier import Classifier
from vlm_models.features import extract_features
from vlm_models.inference import map_images
from vlm_models.interface import evaluating


@dataclasses.dataclass
class Validator:
    """Scores classifiers on one data set; with a frozen encoder its features are extracted once.

    Attributes:
        dataset: the validation split.
        frozen_encoder: whether all classifiers share one unchanging image tower.
        project: makes logits over the classes of the data set where these are not the classifier's own.
    """

    dataset: ImageDataset
    frozen_encoder: bool = False
    project: Callable[[np.ndarray], np.ndarray] | None = None
    _features: torch.Tensor | None = None

    def score(self, classifier: Classifier, device: torch.device) -> tuple[float, float]:
        """Return (accuracy in [0, 1], mean negative log-likelihood in nats) over the labelled samples."""
        found = self._logits(classifier, device)
        logits = torch.from_numpy(self.project(found) if self.project else found)
        labels = torch.from_numpy(self.dataset.labels)
        known = labels != UNLABELLED
        return accuracy_and_nll(logits[known], labels[known]) if known.any() else (0.0, float("inf"))

    def _logits(self, classifier: Classifier, device: torch.device) -> np.ndarray:
        encoder = classifier.encoder
        if not self.frozen_encoder:
            with evaluating(classifier):
                return map_images(classifier, self.dataset, encoder.preprocess, device=device)
        if self._features is None:
            self._features = torch.from_numpy(extract_features(encoder, self.dataset)["feature"])
        with torch.inference_mode():
            return classifier.head(self._features.to(device)).float().cpu().numpy()


def accuracy_and_nll(logits: Float[Tensor, "n c"], labels: Int64[Tensor, " n"]) -> tuple[float, float]:
    """Return the share of rows classified rightly and their mean negative log-likelihood in nats, in double precision.

    Example:
        >>> accuracy_and_nll(torch.zeros(2, 4), torch.tensor([0, 1]))
        (0.5, 1.386)
    """
    correct = logits.argmax(dim=1) == labels
    return correct.double().mean().item(), functional.cross_entropy(logits.double(), labels).item()
