"""Which published model a weight file holds, told by the names of its tensors."""

import re
from collections.abc import Collection

from vlm_data.errors import CallError, listing
from vlm_models.errors import CheckpointError

_MARKS = (
    ("albef", r"text_encoder\.(bert\.)?embeddings\.token_type_embeddings\.weight$"),
    ("hf", r"(vision_model|text_model)\.(embeddings|encoder)\."),
    ("blip", r"text_encoder\.(embeddings|encoder)\.|text_decoder\.bert\."),
    ("clip", r"visual\.(conv1|class_embedding|layer1|transformer)"),
    ("openclip", r"visual\.(trunk|stem)\."),
)
"""Families and what only their files hold, first match wins: BLIP has no token types, and the names of both are used
by transformers too, beside `vision_model`."""
_ADVICE = {"hf": "hf:FOLDER with the folder it lies in", "openclip": "openclip:ARCHITECTURE/{path}"}
_TAKE = {
    "albef": "a pretraining, retrieval or grounding file, such as ALBEF.pth, mscoco.pth or refcoco.pth",
    "blip": "a pretraining or retrieval file, such as model_base.pth or model_base_retrieval_coco.pth",
}
_PARTS = {
    "visual_encoder.": "the image tower",
    "text_encoder.": "the text tower",
    "vision_proj.": "the image projection",
    "text_proj.": "the text projection",
}


def published_family(names: Collection[str]) -> str | None:
    """Return the family whose files have tensors of such names, None if none is known.

    Example:
        >>> published_family(["visual_encoder.pos_embed", "text_encoder.encoder.layer.0.output.dense.bias"])
        'blip'
        >>> published_family(["visual.conv1.weight"]), published_family(["fc.weight"])
        ('clip', None)
    """
    for family, pattern in _MARKS:
        if any(re.match(pattern, name) for name in names):
            return family
    return None


def text_prefix(names: Collection[str]) -> str:
    """Return what stands before the names of text layers.

    The authors of ALBEF remove `bert.` when they fine-tune, so their pretraining and retrieval files differ.
    """
    return "text_encoder.bert." if any(name.startswith("text_encoder.bert.") for name in names) else "text_encoder."


def check_contents(names: Collection[str], family: str, path: str) -> None:
    """Raise unless a file is of a family and holds both towers with their projections.

    Raises:
        CallError: if it belongs to another family; the spec to write is named.
        CheckpointError: if it is of no known family, or a part is missing.
    """
    found = published_family(names)
    if found not in (None, family):
        spec = _ADVICE.get(found, "{family}:{path}").format(family=found, path=path)
        raise CallError(
            f"{path} holds weights of the family {found}, not of {family}: it has {_witness(names, found)}. "
            f"Expected a file of {family.upper()}'s authors; write {spec}."
        )
    missing = [part for prefix, part in _PARTS.items() if not any(name.startswith(prefix) for name in names)]
    if found is None and len(missing) == len(_PARTS):
        raise CheckpointError(
            f"{path} is not a file of {family.upper()}: its tensors are called {listing(sorted(names), 3)}. "
            f"Expected visual_encoder., text_encoder., vision_proj. and text_proj.; take {_TAKE[family]}."
        )
    if missing:
        raise CheckpointError(
            f"{path} lacks {' and '.join(missing)}{_purpose(names)}, without which features of images and texts cannot "
            f"be compared. Take {_TAKE[family]}."
        )


def _witness(names: Collection[str], family: str | None) -> str:
    pattern = dict(_MARKS)[family or ""]
    return min(name for name in names if re.match(pattern, name))


def _purpose(names: Collection[str]) -> str:
    starts = {name.split(".")[0] for name in names}
    if "cls_head" in starts:
        return " (it is a file for reasoning or entailment)"
    if "text_decoder" in starts:
        return " (it is a file for visual question answering)" if "text_encoder" in starts else " (a captioning file)"
    return ""
