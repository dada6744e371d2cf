"""Every architecture and tag of open_clip: `openclip:ARCH/TAG`, `openclip:ARCH/FILE`, `openclip:ARCH` (random)."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from vlm_data.errors import CallError, unknown_name
from vlm_data.preprocess import Preprocess
from vlm_models.errors import VlmModelsError
from vlm_models.hub import cache_if_unreachable
from vlm_models.interface import FamilyInfo
from vlm_models.memory import require_memory
from vlm_models.openclip.encoder import OpenClipEncoder
from vlm_models.openclip.loading import download, first_sentence, load_file, unavailable
from vlm_models.openclip.published import open_clip_variants
from vlm_models.spec import check_patches, positive_integer

INFO = FamilyInfo(
    "Every architecture and pretrained tag of open_clip.",
    "openclip:ARCH/TAG",
    (
        "image",
        "text",
        "tokens",
        "region attention",
        "vision attention",
        "text attention",
        "pooling attention",
        "feature map",
        "adapters",
    ),
    ("image_size",),
)
variants = open_clip_variants
"""What `vlm_models.variants.family_variants` asks a family for."""
_WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".npz", ".npy")


def load(source: str, **options: str) -> OpenClipEncoder:
    """Load `ARCH`, `ARCH/TAG` or `ARCH/FILE`.

    Without a tag the weights are random, the same at every call. Option `image_size`: another one than the
    architecture's; position embeddings are resized by open_clip's rule (bicubic with antialiasing).

    Raises:
        CallError: for an unknown architecture or tag; the nearest is offered.
        VlmModelsError: if a tag has to be downloaded and the network does not answer, or a package is missing.
        CheckpointError: if a file does not fit the architecture.
    """
    name, _, tag = source.partition("/")
    if not name:
        raise CallError("the model spec openclip: lacks its architecture; write e.g. openclip:ViT-B-32/openai.")
    if name not in open_clip.list_models():
        raise unknown_name(
            "open_clip architecture", name, open_clip.list_models(), "See `vlm models ls --family openclip`."
        )
    settings = _tag_settings(name, tag)
    architecture: dict[str, Any] = {
        "family": "openclip",
        "name": name,
        "quick_gelu": bool(settings.get("quick_gelu")),
    }
    image_size = positive_integer(options, "image_size")
    if image_size:
        architecture |= {"image_size": image_size, "position_resize": "bicubic, antialias"}
    weights = download(name, tag, settings) if settings else tag  # first: building a large model takes a while
    if weights:
        require_memory(os.path.getsize(weights), f"building {name} for {weights}")
    encoder = _create(architecture, f"openclip:{source}", settings)
    patch = getattr(encoder.clip.visual, "patch_size", None)
    if image_size and patch:
        check_patches(image_size, patch[0], name)
    if weights:
        load_file(encoder.clip, weights, name)
    return encoder


def build(architecture: Mapping[str, Any], directory: Path | None = None) -> OpenClipEncoder:
    """Build the modules that `architecture` describes, weights to be loaded afterwards."""
    return _create(architecture, f"openclip:{architecture['name']}", {})


def _tag_settings(name: str, tag: str) -> dict[str, Any]:
    """Return what open_clip knows about a tag, nothing for a weight file or no tag.

    Raises:
        CallError: if it is neither a tag nor a file.
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag in tags:
        return open_clip.get_pretrained_cfg(name, tag) or {}
    if not tag or os.path.isfile(tag):
        return {}
    if os.sep in tag or os.path.splitext(tag)[1] in _WEIGHT_SUFFIXES:
        raise CallError(
            f"there is no weight file {tag}. Expected openclip:{name}/FILE with an existing file, or a tag."
        )
    raise unknown_name(f"tag of {name}", tag, tags, "A local weight file may stand in place of the tag.")


def _create(architecture: Mapping[str, Any], spec: str, settings: Mapping[str, Any]) -> OpenClipEncoder:
    name = architecture["name"]
    tokenizer = _tokenizer(name)
    with _quiet(), torch.random.fork_rng(devices=[]):  # own draw: leaves the caller's generator as it was
        torch.manual_seed(0)
        try:
            clip = open_clip.create_model(
                name,
                pretrained_text=False,
                force_quick_gelu=architecture.get("quick_gelu", False),
                force_image_size=architecture.get("image_size"),
                force_preprocess_cfg=dict(settings),
            )
        except (ImportError, RuntimeError) as error:  # a tower of timm or transformers
            raise _unbuildable(name, error) from error
        except (OSError, ValueError) as error:
            raise unavailable(name, "the configuration", error) from error
    return OpenClipEncoder(
        clip,
        tokenizer,
        spec=spec,
        architecture=architecture,
        preprocess=_preprocess(open_clip.get_model_preprocess_cfg(clip)),
        embedding_dim=(open_clip.get_model_config(name) or {})["embed_dim"],
    )


def _preprocess(settings: Mapping[str, Any]) -> Preprocess:
    size = settings["size"]
    return Preprocess(
        size=size if isinstance(size, int) else size[0],
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        interpolation=settings.get("interpolation", "bicubic"),
        resize=settings.get("resize_mode", "shortest"),
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
    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    hub = cache_if_unreachable() if "hf_tokenizer_name" in text else contextlib.nullcontext()
    try:
        with hub:
            return open_clip.get_tokenizer(name)
    except ImportError as error:
        raise _unbuildable(name, error) from error
    except (OSError, ValueError) as error:
        raise unavailable(name, "the tokenizer", error) from error


def _unbuildable(name: str, error: Exception) -> VlmModelsError:
    return VlmModelsError(
        f"cannot build {name}: {first_sentence(error)}. Expected the packages its towers are written with; "
        "text towers of Hugging Face need `pip install transformers`."
    )
