"""The modules of the `tiny` model: architecture, tokenizer and weights from the files that ship with the package.

`python -m vlm_models.pretrain_tiny` makes the three files again from nothing.
"""

import functools
import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file
from torch import Tensor

from vlm_data.preprocess import Preprocess

EMBEDDING_DIM = 64
CONTEXT_LENGTH = 20
PREPROCESS = Preprocess(32)
CONFIG_FILE, MERGES_FILE, WEIGHTS_FILE = "config.json", "merges.txt.gz", "weights.safetensors"
_SHIPPED = Path(__file__).parent / "assets" / "tiny"


def architecture(vocabulary_size: int) -> dict[str, Any]:
    """Return the constructor arguments of `open_clip.CLIP`: a ViT of 4 x 4 patches and two small text layers.

    Example:
        >>> architecture(616)["vision_cfg"]["patch_size"]
        8
    """
    return {
        "embed_dim": EMBEDDING_DIM,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 4, "head_width": 16, "mlp_ratio": 4.0},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary_size,
            "width": 64,
            "heads": 2,
            "layers": 2,
        },
    }


def shipped_file(name: str) -> Path:
    """Return where one of the three shipped files lies."""
    return _SHIPPED / name


def shipped_config() -> dict[str, Any]:
    """Return the architecture of the shipped weights.

    Example:
        >>> shipped_config()["embed_dim"]
        64
    """
    return json.loads(shipped_file(CONFIG_FILE).read_text(encoding="utf-8"))


def build_clip(config: dict[str, Any], seed: int = 0) -> open_clip.CLIP:
    """Build the model with random weights, drawn from `seed` without touching the global generator.

    Example:
        >>> sum(p.numel() for p in build_clip(architecture(616)).parameters())
        362625
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return open_clip.CLIP(
            config["embed_dim"],
            open_clip.CLIPVisionCfg(**config["vision_cfg"]),
            open_clip.CLIPTextCfg(**config["text_cfg"]),
        )


def build_tokenizer(merges: Path = _SHIPPED / MERGES_FILE) -> SimpleTokenizer:
    """Build the tokenizer of a merges file: lower case, 20 ids, padded with 0, cut at the end.

    `open_clip.get_tokenizer` would return the one of 49 408 entries, whose ids this model has no rows for.
    Words outside the caption grammar fall apart into letters that were never trained: tolerated, not understood.

    Example:
        >>> tokenizer = build_tokenizer()
        >>> tokenizer("the number seven").shape, len(tokenizer.encode("the number seven"))
        (torch.Size([1, 20]), 3)
    """
    return SimpleTokenizer(bpe_path=str(merges), context_length=CONTEXT_LENGTH)


@functools.cache
def _weights() -> dict[str, Tensor]:
    return load_file(shipped_file(WEIGHTS_FILE))


def shipped_weights() -> dict[str, Tensor]:
    """Return the shipped weights in single precision; the file holds them in half precision.

    Example:
        >>> shipped_weights()["visual.proj"].dtype
        torch.float32
    """
    return {name: tensor.float() for name, tensor in _weights().items()}


def build_tiny() -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """Return the pre-trained model in evaluation mode, and its tokenizer.

    Example:
        >>> clip, tokenizer = build_tiny()
        >>> clip.encode_text(tokenizer(["the digit two"])).shape
        torch.Size([1, 64])
    """
    clip = build_clip(shipped_config())
    clip.load_state_dict(shipped_weights())
    return clip.eval(), build_tokenizer()
