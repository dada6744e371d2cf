"""The `tiny` model: a CLIP of 0.36 M parameters whose weights ship with the package; it reads digits."""

from collections.abc import Mapping
from typing import Any

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess

from vlm_models.checkpoint import load_state
from vlm_models.interface import FamilyInfo
from vlm_models.open_clip_encoder import OpenClipEncoder
from vlm_models.tiny import CONFIG, build_clip, build_tokenizer, shipped_weights

INFO = FamilyInfo("A 0.36 M parameter CLIP that reads digits; weights ship with the package.", "tiny")
