"""The modules of ALBEF and BLIP, built from classes of transformers: sizes in, modules out."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import nn
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel
from transformers.initialization import no_init_weights

DROPOUT = 0.1
"""Of the text layers while they are trained, as in both papers; the configuration of transformers says 0."""


@dataclasses.dataclass(frozen=True)
class FusionSizes:
    """Everything that has to be known to build an ALBEF or a BLIP; JSON-able by `dataclasses.asdict`.

    Attributes:
        image_size: side of the square input in pixels.
        patch_size: side of a patch in pixels.
        vision_width: size of image tokens.
        vision_layers: blocks of the image tower.
        vision_heads: attention heads of each; not to be read off weights.
        vision_mlp_width: hidden units of its MLPs.
        text_width: size of text tokens.
        text_layers: layers that make the text feature.
        fusion_layers: further layers that look at the image; 0 if every text layer can (BLIP).
        text_heads: attention heads of a text layer; not to be read off weights.
        text_mlp_width: hidden units of its MLPs.
        vocabulary_size: rows of the table of word pieces.
        positions: rows of the table of positions.
        embedding_dim: d, size of the shared space.
        text_length: ids per text.
        vision_eps: in the denominators of the LayerNorms of the image tower. Both models were trained with 1e-6;
            transformers defaults to 1e-5, and no weight tells.
        text_eps: the same of the text tower.
        temperature_range: the learned temperature is kept inside; None if it is free.
    """

    image_size: int
    patch_size: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    vision_mlp_width: int
    text_width: int
    text_layers: int
    fusion_layers: int
    text_heads: int
    text_mlp_width: int
    vocabulary_size: int
    positions: int
    embedding_dim: int
    text_length: int
    vision_eps: float = 1e-6
    text_eps: float = 1e-12
    temperature_range: tuple[float, float] | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.image_size // self.patch_size
        return side, side


def sizes_of(values: Mapping[str, Any]) -> FusionSizes:
    """Return the sizes that `model.json` holds.

    Raises:
        TypeError: if one is missing or unknown.

    Example:
        >>> values = dict.fromkeys((field.name for field in dataclasses.fields(FusionSizes)), 4)
        >>> sizes_of(values | {"temperature_range": [0.001, 0.5]}).temperature_range
        (0.001, 0.5)
    """
    limits = values.get("temperature_range")
    return FusionSizes(**{**values, "temperature_range": tuple(limits) if limits else None})


@contextlib.contextmanager
def undefined_weights() -> Iterator[None]:
    """Build modules in the block without drawing weights, and without using up the caller's random numbers.

    Weights of such modules must all be loaded afterwards. Drawing those of a base model takes 3.4 s of one core, this
    0.1 s.
    """
    with no_init_weights(), torch.random.fork_rng(devices=[]):  # parameters of transformers are drawn anyway
        yield


def vision_tower(sizes: FusionSizes) -> BlipVisionModel:
    """Build the image tower."""
    return BlipVisionModel(vision_config(sizes))


def vision_config(sizes: FusionSizes) -> BlipVisionConfig:
    """Return what transformers has to know about the image tower: a ViT with pre-norm blocks and exact GELU."""
    return BlipVisionConfig(
        hidden_size=sizes.vision_width,
        intermediate_size=sizes.vision_mlp_width,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.vision_heads,
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
        hidden_act="gelu",
        layer_norm_eps=sizes.vision_eps,
    )


def text_tower(sizes: FusionSizes) -> BlipTextModel:
    """Build the text tower; where no fusion layers follow it, its own layers have cross-attention."""
    return BlipTextModel(text_config(sizes, sizes.text_layers, not sizes.fusion_layers), add_pooling_layer=False)


def fusion_tower(sizes: FusionSizes) -> BlipTextModel | None:
    """Build the layers that follow the text tower of ALBEF and look at the image; None for BLIP."""
    if not sizes.fusion_layers:
        return None
    tower = BlipTextModel(text_config(sizes, sizes.fusion_layers, True), add_pooling_layer=False)
    tower.embeddings = cast(Any, nn.Identity())  # they read states, not ids: a table would be saved for nothing
    return tower


def text_config(sizes: FusionSizes, layers: int, sees_images: bool) -> BlipTextConfig:
    """Return what transformers has to know about a stack of text layers: BERT, post-norm, exact GELU."""
    return BlipTextConfig(
        vocab_size=sizes.vocabulary_size,
        hidden_size=sizes.text_width,
        encoder_hidden_size=sizes.vision_width,
        intermediate_size=sizes.text_mlp_width,
        num_hidden_layers=layers,
        num_attention_heads=sizes.text_heads,
        max_position_embeddings=sizes.positions,
        hidden_act="gelu",
        layer_norm_eps=sizes.text_eps,
        hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=DROPOUT,
        is_decoder=sees_images,  # adds cross-attention; the mask stays bidirectional unless the call asks otherwise
        bos_token_id=None,  # ids of special tokens are the tokenizer's business; the defaults exceed small vocabularies
        sep_token_id=None,
        eos_token_id=None,
    )
