"""Fisher information on disk, under what it depends on: estimated once for a model and its training images."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from vlm_data.dataset import ImageDataset
from vlm_data.files import text_hash, write_bytes
from vlm_data.progress import Progress, silent
from vlm_models.checkpoint import weights_hash
from vlm_models.classifier import Classifier
from vlm_models.fisher import Fisher, fisher_information
from vlm_models.inference import process_place

_FORMAT = "1"


def save_fisher(fisher: Fisher, path: str | os.PathLike[str]) -> None:
    """Write information to a safetensors file, atomically; how it was estimated goes into its metadata.

    Example:
        >>> import tempfile, torch
        >>> path = tempfile.mkdtemp() + "/fisher.safetensors"
        >>> save_fisher(Fisher({"w": torch.ones(2)}, examples=3), path)
        >>> load_fisher(path).examples
        3
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in fisher.information.items()}
    facts = {"examples": fisher.examples, "slow_because": fisher.slow_because}
    # one entry: safetensors writes several in an order of its own, and equal files shall be equal bytes
    write_bytes(path, save(tensors, metadata={"fisher": json.dumps(facts, sort_keys=True)}))


def load_fisher(path: str | os.PathLike[str]) -> Fisher | None:
    """Read what `save_fisher` wrote, onto the CPU; None if the file is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["fisher"])
            information = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            return Fisher(information, facts["examples"], facts["slow_because"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def kept_fisher(
    model: Classifier,
    dataset: ImageDataset,
    folder: Path,
    *,
    samples: int = 512,
    seed: int = 0,
    progress: Progress = silent,
) -> Fisher:
    """Return the information of a model on images drawn from a data set, on its device.

    Args:
        model: a classifier, see `vlm_models.fisher.fisher_information`.
        dataset: training images.
        folder: where it is kept; what is there for the same weights, images and seed is not estimated again.
        samples: images, drawn without replacement; all if there are not more.
        seed: of the draws of images and of labels.
        progress: told about batches.

    Raises:
        CallError: if there are no images or nothing is trainable.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:samples])
    chosen = dataset.select(rows.tolist())
    facts = {
        "format": _FORMAT,
        "weights": weights_hash(model.state_dict()),
        "trainable": [name for name, parameter in model.named_parameters() if parameter.requires_grad],
        "preprocessing": model.encoder.preprocess.hash,
        "images": chosen.fingerprint,
        "seed": seed,
    }
    path = folder / f"fisher-{text_hash(json.dumps(facts, sort_keys=True))}.safetensors"
    fisher = load_fisher(path)
    if fisher is None:
        fisher = fisher_information(model, chosen, seed=seed, progress=progress)
        if process_place()[0] == 0:
            save_fisher(fisher, path)
    device = next(model.parameters()).device
    return dataclasses.replace(fisher, information={name: t.to(device) for name, t in fisher.information.items()})
