"""What a model is, as plain values: for people, and for programs that read JSON."""

from typing import Any

import torch

from vlm_data.text import list_hash
from vlm_models.catalog import family_info, load_model
from vlm_models.checkpoint import read_manifest, weights_hash
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder, parameter_count
from vlm_models.spec import parse_spec, saved_folder

_SAVED_FACTS = ("base", "converted", "method", "lora_rank", "epoch", "alpha", "ends")


def describe(spec: str) -> dict[str, Any]:
    """Load a model and return what it is.

    Returns:
        JSON-able values: `spec`, `architecture`, `capabilities`, `licence` (empty if unknown), `embedding_dim`,
        `context_length`, `vision` (`grid` of patches, `prefix_tokens`, `width`, `layers` whose attention can be read),
        `parameters` (`image`: of the image tower; `text`; `fusion`: layers that see both; `scalars`: logit scale and
        bias; `head`, where there is one), `preprocessing` with its `hash`, `logit_scale` and its inverse `temperature`,
        `logit_bias` of a sigmoid model, `weights_hash`; of a saved classifier `head`, `class_names`, `templates` with
        their hashes; of a saved model `saved`: what its manifest tells.

    Raises:
        CallError, VlmModelsError: see `load_model`.

    Example:
        >>> tiny = describe("tiny")
        >>> tiny["parameters"]["image"], tiny["preprocessing"]["size"], tiny["vision"]["grid"]
        (217728, 32, [4, 4])
    """
    model = load_model(spec)
    encoder = model.encoder if isinstance(model, Classifier) else model
    facts: dict[str, Any] = {"spec": spec, **_encoder_facts(encoder), "weights_hash": weights_hash(model.state_dict())}
    facts["licence"] = encoder.licence or family_info(parse_spec(spec).family).licence
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
    scale = float(encoder.logit_scale)
    sizes = {group: sum(p.numel() for p in found) for group, found in encoder.parameter_groups().items()}
    facts = {
        "architecture": dict(encoder.architecture),
        "capabilities": sorted(encoder.capabilities),
        "embedding_dim": encoder.embedding_dim,
        "parameters": {
            "image": sizes["vision"] + sizes["vision projection"],
            "text": sizes["text"] + sizes["text projection"],
            "fusion": sizes["fusion"],
            "scalars": sizes["logit"],
        },
        "preprocessing": {**encoder.preprocess.values(), "hash": encoder.preprocess.hash},
        "logit_scale": scale,
        "temperature": 1 / scale,
    }
    if encoder.logit_bias is not None:
        facts["logit_bias"] = float(encoder.logit_bias)
    if "text" in encoder.capabilities:
        facts["context_length"] = encoder.tokenize(["a"]).shape[-1]
    if "tokens" in encoder.capabilities:
        facts["vision"] = _vision_facts(encoder)
    return facts


def _vision_facts(encoder: DualEncoder) -> dict[str, Any]:
    size = encoder.preprocess.size
    output = encoder.vision_tokens(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    can = "vision attention" in encoder.capabilities
    return {
        "grid": list(output.grid),
        "prefix_tokens": output.prefix_tokens,
        "width": output.tokens.shape[-1],
        "layers": len(encoder.attention_modules("vision")) if can else 0,
    }
