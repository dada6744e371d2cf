"""Foreign weights into the house's own format, once: afterwards nothing foreign has to be read again."""

import contextlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlm_data.errors import CallError, listing
from vlm_data.files import replacing_folder
from vlm_models.catalog import REGISTRY, load_model
from vlm_models.checkpoint import MANIFEST, WEIGHTS, read_manifest, save_model, weights_hash
from vlm_models.classifier import Classifier
from vlm_models.clip.layout import clip_prefix
from vlm_models.errors import CheckpointError
from vlm_models.fusion.recognition import published_family
from vlm_models.interface import DualEncoder
from vlm_models.spec import Spec, parse_spec
from vlm_models.weight_files import read_weight_file

_ADVICE = {
    "openclip": "its tower is one of timm: write openclip:ARCHITECTURE/{path}",
    None: "write FAMILY:{path}; `vlm models ls` lists the families",
}


def convert(source: str, directory: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Read foreign weights and write them as `model.safetensors` and `model.json`, which `file:DIR` loads.

    What was written is loaded again and compared, weights and features, before it gets its name. `model.json` tells
    under `converted` where the weights came from.

    Args:
        source: a weight file, whose family is told by the names of its tensors, or a model spec.
        directory: made if missing.
        overwrite: replace a model that was converted into it before.

    Returns:
        The directory.

    Raises:
        CallError: if the family cannot be told, or the directory holds a model and `overwrite` is false, or one that
            was trained, or another file under a name that is needed.
        VlmError: if the source cannot be read or the directory not written; nothing is left behind then.

    Example:
        >>> import tempfile
        >>> folder = convert("tiny", Path(tempfile.mkdtemp()) / "converted")
        >>> load_model(f"file:{folder}").embedding_dim
        64
    """
    target = Path(directory)
    _check_target(target, overwrite)
    spec = recognised_spec(source)
    model = load_model(spec)
    with replacing_folder(target, keep_others=True) as temporary:
        save_model(model, temporary, converted=_origin(spec))
        _spare_others(temporary, target)
        check_copy(model, temporary, spec)
    return target


def recognised_spec(source: str) -> str:
    """Return the model spec of a weight file; a spec stays as it is.

    Raises:
        CallError: if its family cannot be told, which is named as far as it is known.
        CheckpointError: if it cannot be read.

    Example:
        >>> recognised_spec("openclip:ViT-B-32/openai")
        'openclip:ViT-B-32/openai'
    """
    parts = parse_spec(source)
    options = "".join(f",{key}={value}" for key, value in parts.options.items())
    path = source.removesuffix(options)
    if parts.family in REGISTRY.names() and (parts.source or not Path(path).exists()):
        return source
    if not Path(path).exists():
        raise CallError(
            f"{path} is neither a file nor a model spec. Expected a weight file that exists, or FAMILY:FILE with one "
            f"of the families {', '.join(REGISTRY.names())}."
        )
    names = read_weight_file(path).tensors
    family = "clip" if clip_prefix(names) is not None else published_family(names)
    if family == "hf":
        return f"hf:{path if Path(path).is_dir() else Path(path).parent}{options}"
    if family in ("clip", "albef", "blip"):
        return f"{family}:{path}{options}"
    advice = _ADVICE[family if family in _ADVICE else None].format(path=path)
    raise CallError(
        f"the family of {path} cannot be told from its tensors, {listing(sorted(names), 3)}. Expected the names of "
        f"CLIP, ALBEF, BLIP or transformers; {advice}."
    )


def _check_target(target: Path, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise CallError(f"{target} is a file. Expected a folder to write into; choose another name.")
    if not any((target / name).exists() for name in (WEIGHTS, MANIFEST)):
        return
    if not overwrite:
        raise CallError(f"{target} holds a model already. Choose another folder, or replace it with --overwrite.")
    if not (target / MANIFEST).is_file() or "converted" not in read_manifest(target):
        raise CallError(
            f"{target} holds a model that was not converted but trained or saved, so it is not replaced. "
            "Choose another folder."
        )


def _spare_others(written: Path, target: Path) -> None:
    """Raise if a file, such as a vocabulary, would take the place of one that no conversion wrote."""
    if (target / MANIFEST).exists():  # then they are ours
        return
    for path in sorted(written.iterdir()):
        there = target / path.name
        if there.exists() and not (there.is_file() and there.read_bytes() == path.read_bytes()):
            raise CallError(
                f"{target} holds {path.name}, which would be replaced. "
                "Expected a folder without a file of that name; choose another folder."
            )


def _origin(spec: str) -> dict[str, Any]:
    """Return where weights came from: the spec, the name, SHA-256 and format of the file, and who converted it."""
    origin: dict[str, Any] = {"spec": spec, "by": f"vlm-models {version('vlm-models')}"}
    path = _weight_path(parse_spec(spec))
    with contextlib.suppress(CheckpointError):  # a folder of transformers whose files have names of their own
        if path:
            file = read_weight_file(path)
            origin |= {"source": file.path.name, "sha256": file.sha256, "format": file.format}
    return origin


def _weight_path(spec: Spec) -> Path | None:
    """Return the file or folder that a spec names; None if it names weights otherwise, such as by a tag."""
    for text in (spec.source, spec.source.partition("/")[2]):
        if text and Path(text).exists():
            return Path(text)
    return None


def check_copy(model: DualEncoder | Classifier, folder: Path, spec: str) -> None:
    """Raise unless the model in a folder has the weights of this one and does the same with them.

    Raises:
        CheckpointError: if weights differ, or the features of one image.
    """
    copy = load_model(f"file:{folder}")
    same = weights_hash(copy.state_dict()) == weights_hash(model.state_dict())
    if not (same and torch.allclose(_features(model), _features(copy), rtol=0, atol=0, equal_nan=True)):
        raise CheckpointError(
            f"what was written of {spec} is not what was read; nothing was kept. Expected equal weights and features: "
            "the disk or the memory is at fault, or this is a defect of vlm; try again on another disk."
        )


@torch.inference_mode()
def _features(model: DualEncoder | Classifier) -> Tensor:
    size = (model.encoder if isinstance(model, Classifier) else model).preprocess.size
    noise = torch.randint(0, 256, (1, 3, size, size), generator=torch.Generator().manual_seed(0))
    return model(noise.byte()) if isinstance(model, Classifier) else model.encode_image(noise.byte())
