"""Features on disk, under everything they depend on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from vlm_data.dataset import ImageDataset
from vlm_data.files import text_hash, write_bytes
from vlm_models.checkpoint import weights_hash
from vlm_models.inference import process_place
from vlm_models.interface import DualEncoder

_TRANSFORM = "evaluation"
_FORMAT = "1"


def feature_facts(model: DualEncoder, dataset: ImageDataset) -> dict[str, str]:
    """Return everything the features of these images depend on.

    Example:
        >>> from vlm_data import load_benchmark
        >>> from vlm_models import load_encoder
        >>> feature_facts(load_encoder("tiny"), load_benchmark("digits", limit=2).test)["precision"]
        'torch.float32'
    """
    return {
        "format": _FORMAT,
        "architecture": hashlib.sha256(json.dumps(dict(model.architecture), sort_keys=True).encode()).hexdigest(),
        "weights": weights_hash(model.image_tower().state_dict()),
        "precision": str(next(model.parameters()).dtype),
        "preprocessing": model.preprocess.hash,
        "data": dataset.name,
        "split": dataset.split,
        "images": dataset.fingerprint,
        "transform": _TRANSFORM,
    }


def cache_file(cache: Path, facts: Mapping[str, str], reading: str) -> Path:
    """Return the file of one reading of these facts."""
    return cache / f"{text_hash(json.dumps(dict(facts), sort_keys=True), reading)}.safetensors"


def read_features(path: Path) -> np.ndarray | None:
    """Return cached features, None if they are missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("features").numpy()
    except (OSError, SafetensorError):
        return None


def write_features(path: Path, features: np.ndarray, note: Mapping[str, str]) -> None:
    """Write features with a note of what they depend on; one process does it for all."""
    if process_place()[0] == 0:
        tensor = torch.from_numpy(np.ascontiguousarray(features))
        write_bytes(path, save({"features": tensor}, metadata=dict(note)))
