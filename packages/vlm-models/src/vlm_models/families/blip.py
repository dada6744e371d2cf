"""BLIP as its authors published it (Li et al. 2022), base and large: `blip:FILE.pth`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlm_models.fusion.encoder import CAPABILITIES, FusionEncoder
from vlm_models.fusion.files import build_fusion, load_fusion
from vlm_models.fusion.sizes import OPTIONS
from vlm_models.interface import FamilyInfo

INFO = FamilyInfo(
    "Published files of BLIP, base and large: pretraining and retrieval.",
    "blip:FILE.pth",
    CAPABILITIES,
    OPTIONS,
    licence="BSD-3-Clause",
)


def load(source: str, **options: str) -> FusionEncoder:
    """Load the file `source`; see `load_fusion`.

    Raises:
        CallError: for an impossible option.
        CheckpointError: if the file is damaged, or of another kind of model.
    """
    return load_fusion("blip", source, options)


def build(architecture: Mapping[str, Any], directory: Path | None = None) -> FusionEncoder:
    """Build the modules that `architecture` describes, weights to be loaded afterwards."""
    return build_fusion("blip", architecture, directory)
