"""From a model spec to a model: `tiny`, `openclip:ViT-B-32/laion2b_s34b_b79k`, `run:DIR`."""

import torch

from vlm_data.errors import CallError, unknown_name
from vlm_data.registry import Registry
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder, FamilyInfo
from vlm_models.spec import changed_preprocess, parse_spec, split_options

REGISTRY = Registry("vlm_models.families", "model family")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def family_info(name: str) -> FamilyInfo:
    """Return what is known about a family before anything is loaded.

    Raises:
        CallError: for an unknown family; the nearest is offered.
    """
    return REGISTRY.load(name).INFO


def load_model(spec: str, device: torch.device | str = "cpu", precision: str = "fp32") -> DualEncoder | Classifier:
    """Load a model from its spec, in evaluation mode.

    Args:
        spec: `FAMILY`, `FAMILY:SOURCE` or `FAMILY:SOURCE,key=value` (see `vlm_models.spec`). `run:` and `file:` give
            back what was saved, a classifier if it had a head.
        device: where to put it.
        precision: type of the floating-point weights, `fp32`, `bf16` or `fp16`; a head stays in single precision.

    Raises:
        CallError: for an unknown family, architecture, tag, option or precision; the nearest valid name is offered.
        CheckpointError: if weights do not fit.

    Example:
        >>> load_model("tiny").embedding_dim
        64
        >>> load_model("tiny,resize=squash").preprocess.resize
        'squash'
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    parts = parse_spec(spec)
    family = REGISTRY.load(parts.family)
    own, common = split_options(parts, family.INFO.options)
    model = family.load(parts.source, **own)
    encoder = model.encoder if isinstance(model, Classifier) else model
    encoder.preprocess = changed_preprocess(encoder.preprocess, common)
    encoder.spec = spec
    encoder.to(dtype=PRECISIONS[precision])
    return model.to(device).eval()


def load_encoder(spec: str, device: torch.device | str = "cpu", precision: str = "fp32") -> DualEncoder:
    """Load the towers of a model; a head saved with it is dropped.

    Raises:
        CallError: if the model has no two towers; else as for `load_model`.
    """
    model = load_model(spec, device, precision)
    encoder = model.encoder if isinstance(model, Classifier) else model
    if not isinstance(encoder, DualEncoder):
        raise CallError(f"{spec} is not a dual encoder; expected a model with an image and a text tower.")
    return encoder
