"""What a model is, as plain values: for people, and for programs that read JSON."""

import dataclasses
from typing import Any

import torch

from vlm_data.text import list_hash
from vlm_models.catalog import load_model
from vlm_models.checkpoint import read_manifest, weights_hash
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder, parameter_count
from vlm_models.spec import saved_folder

_SAVED_FACTS = ("base", "method", "epoch", "alpha", "ends")


def describe(spec: str) -> dict[str, Any]:
    """Load a model and return what it is.

    Returns:
        JSON-able values: `spec`, `architecture`, `embedding_dim`, `context_length`, `parameters` (`image`: of the image
        tower; `text`: every other tensor; `scalars`: logit scale and bias; `head`, where there is one), `preprocessing`
        with its `hash`, `logit_scale` and its inverse `temperature`, `weights_hash`; of a saved classifier `head`,
        `class_names`, `templates` with their hashes; of a saved model `saved`: what its manifest tells.

    Raises:
        CallError, VlmModelsError: see `load_model`.

    Example:
        >>> tiny = describe("tiny")
        >>> tiny["parameters"]["image"], tiny["preprocessing"]["size"]
        (217728, 32)
    """
    model = load_model(spec)
    encoder = model.encoder if isinstance(model, Classifier) else model
    facts: dict[str, Any] = {"spec": spec, **_encoder_facts(encoder), "weights_hash": weights_hash(model.state_dict())}
    if isinstance(model, Classifier):
        facts["parameters"]["head"] = parameter_count(model.head)
        facts |= {
            "head": model.head_kind,
            "class_names": list(model.class_names),
            "class_names_hash": list_hash(model.class_names),
            "templates": list(model.templates),
            "templates_hash": list_hash(model.templates),
        }
    folder = saved_folder(spec)
    if folder:
        manifest = read_manifest(folder)
        facts["saved"] = {key: manifest[key] for key in _SAVED_FACTS if key in manifest}
    return facts


@torch.no_grad()
def _encoder_facts(encoder: DualEncoder) -> dict[str, Any]:
    image = {id(parameter) for parameter in encoder.image_tower().parameters()}
    others = [parameter for parameter in encoder.parameters() if id(parameter) not in image]
    scale = float(encoder.logit_scale)
    preprocessing = dataclasses.asdict(encoder.preprocess)
    return {
        "architecture": dict(encoder.architecture),
        "embedding_dim": encoder.embedding_dim,
        "context_length": encoder.tokenize(["a"]).shape[-1],
        "parameters": {
            "image": parameter_count(encoder.image_tower()),
            "text": sum(parameter.numel() for parameter in others if parameter.dim()),
            "scalars": sum(1 for parameter in others if not parameter.dim()),
        },
        "preprocessing": {**preprocessing, "hash": encoder.preprocess.hash},
        "logit_scale": scale,
        "temperature": 1 / scale,
    }
