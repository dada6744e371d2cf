"""CLIP from a file: OpenAI's archives and state dicts, and what WiSE-FT, FLYP, CaRot and model soups make of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_models.checkpoint import MANIFEST, WEIGHTS
from vlm_models.classifier import LINEAR, Classifier, LinearHead, unnamed_classes
from vlm_models.clip.activation import QUICK_GELU, find_activation
from vlm_models.clip.layout import ClipParts, clip_parts
from vlm_models.clip.sizes import clip_config
from vlm_models.errors import CheckpointError
from vlm_models.interface import FamilyInfo
from vlm_models.memory import require_memory
from vlm_models.openclip.encoder import OpenClipEncoder
from vlm_models.openclip.image_only import ImageOnlyClipEncoder
from vlm_models.openclip.loading import fit_state
from vlm_models.weight_files import WeightFile, read_weight_file

INFO = FamilyInfo(
    "CLIP from a file of OpenAI, WiSE-FT, FLYP, CaRot or model soups.",
    "clip:FILE.pt",
    ("image", "text", "tokens", "region attention", "vision attention", "text attention", "feature map", "adapters"),
    ("activation", "image_size", "vision_heads", "text_heads"),
)
_VOCABULARY_SIZE = 49408
"""Entries of the byte-pair vocabulary of every published CLIP of this layout."""


def load(source: str, **options: str) -> OpenClipEncoder | Classifier:
    """Load the file `source`, in single precision; a classifier if a trained head is in it.

    A head is a linear one for classes without names (`#0`, `#1`, ...): these files do not tell them. A file whose text
    layers were deleted, as those programs do once the head is built, gives an encoder of images alone.

    Options: `activation` (`quickgelu` or `gelu`, see `find_activation`), `image_size` (position embeddings are resized
    by open_clip's rule, bicubic with antialiasing), `vision_heads`, `text_heads`.

    Raises:
        CallError: if nothing tells the activation, the file belongs to another family, or an option is impossible.
        CheckpointError: if the file is damaged, lacks a tower, or has tensors that do not fit together.
    """
    if not source:
        raise CallError("the model spec clip: lacks its file; write clip:FILE.pt.")
    _refuse_saved_models(Path(source))
    file = read_weight_file(source)
    parts = clip_parts(file.tensors, source)
    if parts.head_weight is None and not parts.has_text_tower:
        raise CheckpointError(
            f"{source} lacks the layers of the text tower (transformer.resblocks) and has no classification_head: "
            "there is nothing to compare images with. Expected one or the other; take the file of the whole model."
        )
    heads = {name.removeprefix(parts.prefix): n for name, n in file.facts.items() if name.endswith(".num_heads")}
    config = clip_config(parts.state, source, options, heads)
    activation, rule = find_activation(file, parts, options.get("activation"))
    architecture = {"family": "clip", **config, "activation": activation, "activation_told_by": rule}
    learned = _learned_size(parts, config)
    if learned != config["vision_cfg"]["image_size"]:
        architecture["position_resize"] = {"from": learned, "rule": "bicubic, antialias"}
    require_memory(sum(tensor.numel() for tensor in parts.state.values()) * 4, f"building {source}")
    encoder = build(architecture)
    encoder.spec = f"clip:{source}"
    fit_state(encoder.clip, parts.state, source, "the CLIP of the sizes it tells")
    return encoder if parts.head_weight is None else _classifier(encoder, file, parts)


def _refuse_saved_models(path: Path) -> None:
    """Raise for the weights of a model that was saved here: what they need to be read stands beside them."""
    folder = path if path.is_dir() else path.parent
    if path in (folder, folder / WEIGHTS) and (folder / MANIFEST).is_file():
        raise CallError(f"{path} belongs to a model that was saved by this program. Write file:{folder}.")


def _learned_size(parts: ClipParts, config: Mapping[str, Any]) -> int:
    vision = config["vision_cfg"]
    if vision["patch_size"] is None:
        return vision["image_size"]
    return round((len(parts.state["visual.positional_embedding"]) - 1) ** 0.5) * vision["patch_size"]


def _classifier(encoder: OpenClipEncoder, file: WeightFile, parts: ClipParts) -> Classifier:
    weight, bias = parts.head_weight, parts.head_bias
    if file.facts.get("classification_head.normalize") is False:
        raise CheckpointError(
            f"the head in {file.path} was trained on features that are not normalised (normalize=False). Expected one "
            "on normalised features, as WiSE-FT, FLYP and CaRot train them; its logits cannot be computed here."
        )
    if weight is None or weight.dim() != 2 or weight.shape[1] != encoder.embedding_dim:
        raise CheckpointError(
            f"the head in {file.path} has the shape {tuple(weight.shape) if weight is not None else ()}. Expected "
            f"(classes, {encoder.embedding_dim}), the size of the features of this model."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise CheckpointError(f"the head in {file.path} has {weight.shape[0]} classes and {tuple(bias.shape)} biases.")
    head = LinearHead(weight.float(), None if bias is None else bias.float())
    return Classifier(encoder, head, LINEAR, unnamed_classes(len(weight)), ())


def build(architecture: Mapping[str, Any], directory: Path | None = None) -> OpenClipEncoder:
    """Build the modules that `architecture` describes, weights to be loaded afterwards."""
    vision, text = architecture["vision_cfg"], architecture["text_cfg"]
    with torch.random.fork_rng(devices=[]):  # own draw: leaves the caller's generator as it was
        torch.manual_seed(0)
        clip = open_clip.CLIP(
            architecture["embed_dim"],
            open_clip.CLIPVisionCfg(**vision),
            open_clip.CLIPTextCfg(**{**text, "layers": text["layers"] or 1}),  # open_clip cannot build none
            quick_gelu=architecture["activation"] == QUICK_GELU,
        )
    if not text["layers"]:
        del clip.transformer.resblocks[0]
    encoder = OpenClipEncoder if text["layers"] else ImageOnlyClipEncoder
    return encoder(
        clip,
        _Tokenizer(text["context_length"], text["vocab_size"]),
        spec="clip:",
        architecture=architecture,
        preprocess=Preprocess(vision["image_size"], open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
        embedding_dim=architecture["embed_dim"],
    )


class _Tokenizer:
    """The tokenizer of CLIP, for models whose table of embeddings has a row per entry of its vocabulary."""

    def __init__(self, context_length: int, rows: int) -> None:
        self._tokenizer = SimpleTokenizer(context_length=context_length)
        self._rows = rows

    def __call__(self, texts: Sequence[str]) -> Tensor:
        if self._rows != _VOCABULARY_SIZE:
            raise CheckpointError(
                f"the tokenizer of CLIP has {_VOCABULARY_SIZE} entries, but this model has a table of token embeddings "
                f"of {self._rows} rows. Expected weights that were trained with it; of others, pass token ids."
            )
        return self._tokenizer(list(texts))
