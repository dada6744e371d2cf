"""Regions and answers with and without a planted feature, drawn from a seed: no model, so thousands can be made."""

import dataclasses

import numpy as np
import pytest

from vlm_data.tables import Predictions, Regions

WIDTH = 24
RECTANGLE, EMPTY = 20, 21  # axes of the embeddings


@dataclasses.dataclass(frozen=True)
class Planted:
    """A setting of four quadrants: what the class looks like, at times a rectangle, the rest empty."""

    regions: Regions
    predictions: Predictions
    present: np.ndarray
    class_names: tuple[str, ...]


def plant(
    seed: int, *, n: int = 600, classes: int = 6, gain: float = 0.0, loss: float = 0.0, accuracy: float = 0.9
) -> Planted:
    """Draw a setting: the rectangle is in half of the images of every class.

    Args:
        seed: of all draws.
        n: images.
        classes: the last is the one that the rectangle is tied to.
        gain: how much less accurate the tied class is without rectangle.
        loss: how much less accurate all others are with it; their errors then name the tied class.
        accuracy: of the rest.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    present = rng.random(n) < 0.5
    tied = classes - 1
    right = np.full(n, accuracy) - gain * ((labels == tied) & ~present) - loss * ((labels != tied) & present)
    answers = np.where(rng.random(n) < right, labels, (labels + rng.integers(1, classes, n)) % classes)
    pulled = (answers != labels) & (labels != tied) & present & (rng.random(n) < loss / (loss + 1 - accuracy))
    answers[pulled] = tied
    axes = np.full((n, 4), EMPTY)
    places = rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1)
    rows = np.arange(n)
    axes[rows, places[:, 0]] = labels
    axes[rows[present], places[present, 1]] = RECTANGLE
    embeddings = np.eye(WIDTH)[axes.ravel()] + rng.normal(0, 0.05, (4 * n, WIDTH))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    means = np.zeros((classes, WIDTH))
    means[np.arange(classes), np.arange(classes)] = 1
    means[tied, RECTANGLE] = 0.8 if gain or loss else 0.0
    ids = tuple(f"image-{row:05d}" for row in range(n))
    names = tuple("abcdefghijkl"[:classes])
    words = np.array([*names, "rectangle", "empty"])
    content = np.where(axes == RECTANGLE, classes, np.where(axes == EMPTY, classes + 1, axes))
    regions = Regions(
        tuple(np.repeat(ids, 4).tolist()),
        np.tile([[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16]], (n, 1)).astype(np.float64),
        embeddings.astype(np.float32),
        (20 * embeddings @ means.T).astype(np.float32),
        contents=tuple(words[content.ravel()].tolist()),
        meta={"weights_hash": "w", "pooling": "crop"},
    )
    logits = 5.0 * np.eye(classes)[answers] + rng.random((n, classes))
    return Planted(regions, Predictions(ids, labels, logits.astype(np.float32)), present, names)


@pytest.fixture(scope="session")
def tied():
    """A model that has learnt the tie between rectangle and the last class."""
    return plant(0, gain=0.5, loss=0.3)


@pytest.fixture(scope="session")
def untied():
    """A model that has not."""
    return plant(1)
