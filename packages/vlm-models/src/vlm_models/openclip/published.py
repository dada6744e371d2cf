"""Which weights of open_clip exist, and which are on this machine already."""

import os
from collections.abc import Iterator

import open_clip
from huggingface_hub import constants, try_to_load_from_cache

from vlm_models.variants import Variant

_DEFAULT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def cache_folder() -> str:
    """Return where open_clip puts the weights it downloads.

    Example:
        >>> os.path.isabs(cache_folder())
        True
    """
    return os.path.abspath(constants.HF_HUB_CACHE)


def open_clip_variants() -> list[Variant]:
    """Return every architecture with its tags, and the tags whose weights are in the cache.

    Example:
        >>> any("laion2b_s34b_b79k" in found.tags for found in open_clip_variants())
        True
    """
    found = []
    for name in open_clip.list_models():
        tags = tuple(open_clip.list_pretrained_tags_by_model(name))
        found.append(Variant(name, tags, tuple(tag for tag in tags if _is_cached(name, tag))))
    return found


def _is_cached(name: str, tag: str) -> bool:
    place = (open_clip.get_pretrained_cfg(name, tag) or {}).get("hf_hub", "")
    repository, _, file = place.rpartition("/")
    return any(isinstance(try_to_load_from_cache(repository, one), str) for one in _candidates(file) if repository)


def _candidates(file: str) -> Iterator[str]:
    """Yield the names under which open_clip looks for a weight file."""
    if not file:
        yield from _DEFAULT_FILES
        return
    yield file
    stem, suffix = os.path.splitext(file)
    if suffix in (".bin", ".pth"):
        yield f"{stem}.safetensors"
