"""From a tag of open_clip or a weight file to the weights in a model."""

from collections.abc import Mapping
from typing import Any, cast

import open_clip
from open_clip.factory import load_state_dict
from torch import nn

from vlm_models.errors import CheckpointError, VlmModelsError
from vlm_models.hub import cache_if_unreachable
from vlm_models.weight_space import State, differences


def download(name: str, tag: str, settings: Mapping[str, Any]) -> str:
    """Return the path of the weight file of a tag: from the local cache, else from the network.

    Args:
        name: the architecture.
        tag: the pretrained tag.
        settings: what open_clip knows about the tag (`open_clip.get_pretrained_cfg`).

    Raises:
        VlmModelsError: if it is neither in the cache nor to be had.
    """
    try:
        with cache_if_unreachable():
            return open_clip.download_pretrained(dict(settings))
    except (OSError, ValueError, RuntimeError) as error:
        raise unavailable(name, f"the weights {tag!r}", error) from error


def load_file(clip: nn.Module, path: str, name: str) -> None:
    """Load a weight file into a model of open_clip, which knows several formats and older names of tensors.

    Raises:
        CheckpointError: if the file is damaged or does not fit; missing, unexpected and misshapen keys are listed.
    """
    try:
        open_clip.load_checkpoint(cast(open_clip.CLIP, clip), path)
    except Exception as error:  # damaged bytes make torch, pickle and open_clip raise nearly anything
        problems = _differences(clip, path)
        if problems:
            raise CheckpointError(
                f"the weights {path} do not fit {name}: {'; '.join(problems)}. "
                "Expected the tensors of this architecture; check its name."
            ) from error
        raise CheckpointError(
            f"cannot read weights from {path}: {first_sentence(error)}. Expected a whole safetensors file or a state "
            "dict saved by PyTorch (tensors only; a pickled model is not opened)."
        ) from error


def _differences(clip: nn.Module, path: str) -> list[str]:
    """Return how the keys of a file differ from those of a model, nothing if it has none that can be read."""
    try:
        return differences(clip.state_dict(), cast(State, load_state_dict(path)))
    except Exception:  # as above: what cannot be read is told by the first error
        return []


def unavailable(name: str, what: str, error: Exception) -> VlmModelsError:
    """Build the error for something that is neither cached nor to be downloaded."""
    return VlmModelsError(
        f"cannot load {what} of {name}: {first_sentence(error)}. "
        "It is neither in the local cache nor could it be downloaded. "
        f"Connect once, or download the weight file elsewhere and pass it as openclip:{name}/FILE."
    )


def first_sentence(error: Exception) -> str:
    """Return the first sentence of an error's message, or its type if it has none.

    Example:
        >>> first_sentence(ValueError("wrong. Try again.")), first_sentence(EOFError())
        ('wrong', 'EOFError')
    """
    text = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return text if len(text) > 3 else f"{type(error).__name__} {text}".strip()
