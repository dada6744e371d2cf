"""A model on disk: `model.safetensors` with all weights and `model.json` with everything else."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vlm_data.errors import CallError
from vlm_data.files import write_bytes, write_text
from vlm_data.preprocess import Preprocess
from vlm_data.text import list_hash
from vlm_models.catalog import REGISTRY
from vlm_models.classifier import Classifier, LinearHead
from vlm_models.errors import CheckpointError
from vlm_models.interface import DualEncoder
from vlm_models.weight_space import differences

FORMAT = 1
WEIGHTS, MANIFEST = "model.safetensors", "model.json"


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """Return sixteen hexadecimal digits of names, types, shapes and values of all tensors.

    Example:
        >>> weights_hash({"w": torch.zeros(1)}) == weights_hash({"w": torch.ones(1)})
        False
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def model_facts(model: Classifier) -> dict[str, str]:
    """Return the hashes that identify a classifier: class names, prompts, preprocessing and weights."""
    return {
        "model": model.encoder.spec,
        "class_names_hash": list_hash(model.class_names),
        "templates_hash": list_hash(model.templates),
        "preprocess_hash": model.encoder.preprocess.hash,
        "weights_hash": weights_hash(model.state_dict()),
    }


def write_weights(state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Write tensors to a safetensors file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_bytes(path, save(tensors, metadata={"format": "pt"}))


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU.

    Raises:
        CheckpointError: if the file is missing, cut or of another format.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot read weights from {path}: {error}. Expected a whole safetensors file; copy or write it again."
        ) from error


def load_state(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy weights into a model, strictly.

    Raises:
        CheckpointError: lists missing, unexpected and misshapen keys.
    """
    problems = differences(model.state_dict(), state)
    if problems:
        raise CheckpointError(
            f"the weights of {source} do not fit {type(model).__name__}: {'; '.join(problems)}. "
            "Expected exactly the tensors of this architecture; check that the checkpoint belongs to it."
        )
    model.load_state_dict(dict(state), strict=True)


def save_model(model: DualEncoder | Classifier, directory: str | os.PathLike[str], **facts: Any) -> Path:
    """Write a model into a directory as safetensors and JSON.

    Args:
        model: a dual encoder, or a classifier whose head, class names and templates are kept too.
        directory: made if missing; files of that name are replaced, each atomically.
        facts: further JSON-able entries of the manifest, for example `method="carot"`.

    Returns:
        The directory.

    Example:
        >>> import tempfile
        >>> from vlm_models import load_model
        >>> folder = save_model(load_model("tiny"), tempfile.mkdtemp())
        >>> load_model(f"file:{folder}").spec == f"file:{folder}"
        True
    """
    folder = Path(directory)
    encoder = model.encoder if isinstance(model, Classifier) else model
    state = model.state_dict()
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "architecture": dict(encoder.architecture),
        "base": encoder.spec,
        "preprocessing": encoder.preprocess.values(),
        "weights_hash": weights_hash(state),
    }
    if isinstance(model, Classifier):
        manifest |= {
            "head": model.head_kind,
            "class_names": list(model.class_names),
            "class_names_hash": list_hash(model.class_names),
            "templates": list(model.templates),
            "templates_hash": list_hash(model.templates),
        }
    encoder.write_files(folder)
    write_weights(state, folder / WEIGHTS)
    write_text(folder / MANIFEST, json.dumps(manifest | facts, indent=2) + "\n")
    return folder


def read_manifest(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Read `model.json` of a saved model.

    Raises:
        CheckpointError: if it is missing, damaged or written by a newer version.
    """
    path = Path(directory) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{directory} holds no saved model: cannot read {MANIFEST} ({error}). "
            f"Expected a run directory or a folder with {WEIGHTS} and {MANIFEST}."
        ) from error
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has format {version!r}; this version reads format {FORMAT}. "
            "Read it with the version that wrote it, or save the model again."
        )
    return manifest


def load_saved(directory: str, spec: str) -> DualEncoder | Classifier:
    """Build the architecture a manifest names and load the weights beside it.

    Raises:
        CheckpointError: if files are missing, damaged, or do not belong together.
    """
    manifest = read_manifest(directory)
    try:
        model = _build(manifest, Path(directory))
    except (LookupError, TypeError, ValueError, AttributeError, CallError) as error:
        raise CheckpointError(
            f"{Path(directory) / MANIFEST} does not describe a model that this version can build: "
            f"{type(error).__name__} {error}. Expected a file written by `save_model`; write it again."
        ) from error
    state = read_weights(Path(directory) / WEIGHTS)
    load_state(model, state, directory)
    if weights_hash(state) != manifest.get("weights_hash"):
        raise CheckpointError(
            f"the weights in {Path(directory) / WEIGHTS} are not those {MANIFEST} was written for. "
            "Expected two files of one save; copy both again, or give the command that wrote them once more."
        )
    (model.encoder if isinstance(model, Classifier) else model).spec = spec
    return model


def _build(manifest: Mapping[str, Any], directory: Path) -> DualEncoder | Classifier:
    architecture = manifest["architecture"]
    encoder: DualEncoder = REGISTRY.load(architecture["family"]).build(architecture, directory)
    values = manifest["preprocessing"]
    encoder.preprocess = Preprocess(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
    if "head" not in manifest:
        return encoder
    names = manifest["class_names"]
    head = LinearHead(torch.zeros(len(names), encoder.embedding_dim))
    return Classifier(encoder, head, manifest["head"], names, manifest["templates"])
