"""Dual encoders of transformers: `hf:DIR`, a folder in Hugging Face layout, or `hf:org/name`, a name on the hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_models.hub import model_folder
from vlm_models.huggingface.blip import load_blip_retrieval
from vlm_models.huggingface.config import KINDS, build_modules, essentials, image_size, read_config
from vlm_models.huggingface.encoder import TOKENIZER_FOLDER, HfEncoder
from vlm_models.huggingface.images import read_preprocess
from vlm_models.huggingface.model_card import licence
from vlm_models.huggingface.tokens import read_tokens
from vlm_models.huggingface.weights import NAFLEX_RULE, POSITION_RULE, load_weights
from vlm_models.interface import DualEncoder, FamilyInfo
from vlm_models.spec import check_patches, positive_integer

INFO = FamilyInfo(
    "Dual encoders of transformers: CLIP, MetaCLIP, SigLIP, SigLIP 2, Chinese-CLIP, AltCLIP, BLIP for retrieval.",
    "hf:DIR or hf:org/name",
    (
        "image",
        "text",
        "tokens",
        "region attention",
        "vision attention",
        "text attention",
        "pooling attention",
        "cross attention",
        "matching",
        "adapters",
    ),
    options=("image_size",),
)


def load(source: str, **options: str) -> DualEncoder:
    """Load a folder, or what the hub has under a name.

    `image_size` resizes the position embeddings once, by the rule that transformers has for it at run time.

    Raises:
        CallError: if the source is neither a folder nor a name, or the size is none.
        VlmModelsError: if a name has to be downloaded and the hub does not answer.
        CheckpointError: if files are missing, damaged, or of another kind of model.
    """
    spec = f"hf:{source}"
    if not source:
        raise CallError("the model spec hf: lacks its source; write hf:DIR or hf:ORGANISATION/NAME.")
    folder, revision = model_folder(source)
    raw, wanted = read_config(folder, spec), positive_integer(options, "image_size")
    facts = {key: value for key, value in (("revision", revision), ("licence", licence(folder))) if value}
    if raw["model_type"] == "blip":
        blip = load_blip_retrieval(folder, raw, wanted)
        blip.architecture = {**blip.architecture, **facts}
        return blip
    described = essentials(raw, spec)
    resized = _resized(described, wanted, spec)
    model = build_modules(described, spec)
    tokens = read_tokens(folder, model, KINDS[described["model_type"]], spec)  # before weights, which may be large
    size = resized["to"] if resized else image_size(described)
    preprocess = read_preprocess(folder, size, spec, chosen=bool(resized))
    load_weights(model, folder, spec, resize=bool(resized))
    architecture = _architecture(described) | ({"resized": resized} if resized else {}) | facts
    return HfEncoder(model, tokens, spec=spec, architecture=architecture, preprocess=preprocess)


def _architecture(described: Mapping[str, Any]) -> dict[str, Any]:
    return {"family": "hf", "config": described, "transformers": transformers.__version__}


def _resized(described: dict[str, Any], wanted: int | None, spec: str) -> dict[str, Any]:
    """Write the wanted image size into the description and return what is to be told about it; empty for its own."""
    size, vision = image_size(described), described["vision_config"]
    if wanted is None or wanted == size:
        return {}
    check_patches(wanted, vision["patch_size"], spec)
    if "image_size" not in vision:  # NaFlex resizes its table for every batch itself
        return {"from": size, "to": wanted, "positions": NAFLEX_RULE}
    vision["image_size"] = wanted
    return {"from": size, "to": wanted, "positions": POSITION_RULE}


def build(architecture: Mapping[str, Any], directory: Path | None = None) -> HfEncoder:
    """Build the modules that `architecture` describes, weights to be loaded afterwards.

    Args:
        architecture: of an `HfEncoder`.
        directory: where `write_files` wrote the tokenizer.

    Raises:
        CallError: without a directory.
        CheckpointError: if this version of transformers cannot build the model, or the tokenizer is missing or another.
    """
    described = essentials(architecture["config"], "hf:")
    if directory is None:
        raise CallError("a model of transformers needs the folder that its tokenizer was saved in; give one.")
    spec = f"the model in {directory}"
    model = build_modules(described, spec)
    tokens = read_tokens(directory / TOKENIZER_FOLDER, model, KINDS[described["model_type"]], spec)
    preprocess = Preprocess(image_size(described))  # replaced by what was saved
    return HfEncoder(model, tokens, spec=spec, architecture=architecture, preprocess=preprocess)
