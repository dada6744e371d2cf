"""Every architecture and tag of open_clip: `openclip:ARCH/TAG`, `openclip:ARCH/FILE`, `openclip:ARCH` (random)."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import open_clip
import torch
from torch import Tensor

from vlm_data.errors import CallError, unknown_name
from vlm_data.preprocess import Preprocess
from vlm_models.errors import CheckpointError, VlmModelsError
from vlm_models.interface import FamilyInfo
from vlm_models.open_clip_encoder import OpenClipEncoder
from vlm_models.open_clip_weights import open_clip_variants

INFO = FamilyInfo("Every architecture and pretrained tag of open_clip.", "openclip:ARCH/TAG")
variants = open_clip_variants
"""What `vlm_models.variants.family_variants` asks a family for."""


def load(source: str) -> OpenClipEncoder:
    """Load `ARCH`, `ARCH/TAG` or `ARCH/FILE`.

    Without a tag the weights are random, the same at every call.

    Raises:
        CallError: for an unknown architecture or tag; the nearest is offered.
        VlmModelsError: if a tag has to be downloaded and the network does not answer.
        CheckpointError: if a file does not fit the architecture.
    """
    name, _, tag = source.partition("/")
    if name not in open_clip.list_models():
        raise unknown_name(
            "open_clip architecture", name, open_clip.list_models(), "See `vlm models ls --family openclip`."
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag and tag not in tags and not os.path.isfile(tag):
        raise unknown_name(f"tag of {name}", tag, tags, "A local weight file may stand in place of the tag.")
    settings = open_clip.get_pretrained_cfg(name, tag) or {}
    architecture = {"family": "openclip", "name": name, "quick_gelu": bool(settings.get("quick_gelu"))}
    return _create(architecture, tag or None, f"openclip:{source}")


def build(architecture: Mapping[str, Any]) -> OpenClipEncoder:
    """Build the modules that `architecture` describes, weights to be loaded afterwards."""
    return _create(architecture, None, f"openclip:{architecture['name']}")


def _create(architecture: Mapping[str, Any], weights: str | None, spec: str) -> OpenClipEncoder:
    name = architecture["name"]
    with _quiet(), torch.random.fork_rng(devices=[]):  # own draw: leaves the caller's generator as it was
        torch.manual_seed(0)
        try:
            clip = open_clip.create_model(
                name,
                pretrained=weights,
                pretrained_text=False,
                force_quick_gelu=architecture.get("quick_gelu", False),
            )
        except (OSError, ValueError) as error:
            raise _unavailable(name, weights, error) from error
        except RuntimeError as error:
            raise _unfit(name, weights, error) from error
    settings = open_clip.get_model_preprocess_cfg(clip)
    size = settings["size"]
    preprocess = Preprocess(
        size=size if isinstance(size, int) else size[0],
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        interpolation=settings.get("interpolation", "bicubic"),
        resize=settings.get("resize_mode", "shortest"),
    )
    config = open_clip.get_model_config(name) or {}
    return OpenClipEncoder(
        clip,
        _tokenizer(name),
        spec=spec,
        architecture=architecture,
        preprocess=preprocess,
        embedding_dim=config["embed_dim"],
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from telling on the root logger that random weights are random: here they were asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    try:
        return open_clip.get_tokenizer(name)
    except (OSError, ValueError) as error:
        raise _unavailable(name, "its tokenizer", error) from error


def _unavailable(name: str, what: str | None, error: Exception) -> VlmModelsError:
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return VlmModelsError(
        f"cannot load {what or 'the configuration'} of {name}: {first_line}. "
        "It is neither in the local cache nor could it be downloaded. "
        f"Connect once, or download the weight file elsewhere and pass it as openclip:{name}/FILE."
    )


def _unfit(name: str, weights: str | None, error: RuntimeError) -> CallError | VlmModelsError:
    text = str(error)
    if "Failed to download" in text:
        return _unavailable(name, f"the weights {weights!r}", error)
    return CheckpointError(
        f"the weights {weights} do not fit {name}: {' '.join(text.split())[:600]} "
        "Expected the state dict of this architecture; check the architecture name."
    )
