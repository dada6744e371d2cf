"""The `tiny` model: a CLIP of 0.36 M parameters whose weights ship with the package; it reads digits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlm_data.errors import CallError
from vlm_models.checkpoint import load_state
from vlm_models.interface import FamilyInfo
from vlm_models.openclip.encoder import OpenClipEncoder
from vlm_models.tiny import PREPROCESS, build_clip, build_tokenizer, shipped_config, shipped_weights

INFO = FamilyInfo(
    "A 0.36 M parameter CLIP that reads digits; its weights ship with the package.",
    "tiny",
    ("image", "text", "tokens", "region attention", "vision attention", "text attention", "adapters"),
    licence="Apache-2.0",
)
RANDOM = "random"


def load(source: str) -> OpenClipEncoder:
    """Load the shipped weights, or with the source `random` leave the random ones, the same at every call.

    Models trained from random weights are the baselines that effective robustness is measured on.

    Raises:
        CallError: for any other source.
    """
    if source not in ("", RANDOM):
        raise CallError(f"the model 'tiny' comes as tiny and as tiny:{RANDOM}; got 'tiny:{source}'. Write one of them.")
    model = build({"family": "tiny", "config": shipped_config()})
    if source == RANDOM:
        model.spec = f"tiny:{RANDOM}"
        return model
    load_state(model.clip, shipped_weights(), "tiny")
    return model


def build(architecture: Mapping[str, Any], directory: Path | None = None) -> OpenClipEncoder:
    """Build the modules with random weights, to be loaded afterwards."""
    config = architecture["config"]
    return OpenClipEncoder(
        build_clip(config),
        build_tokenizer(),
        spec="tiny",
        architecture=architecture,
        preprocess=PREPROCESS,
        embedding_dim=config["embed_dim"],
    )
