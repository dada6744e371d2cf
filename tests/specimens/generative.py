"""Small random decoders of transformers that read image tokens, with inputs as their processors make them."""

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.utils import logging

KINDS = ("llava", "qwen2_vl", "smolvlm")
IMAGE, START, END = 59, 57, 56
_TEXT = {
    "vocab_size": 60,
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
GRIDS = {"llava": (1, 4, 4), "qwen2_vl": (1, 2, 3), "smolvlm": (2, 4, 4)}
"""Views, rows and columns of image tokens."""


def generative(kind, attention="sdpa"):
    """Return a model with random weights that are large enough to matter, in evaluation mode."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model = _BUILD[kind]()
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    model.set_attn_implementation(attention)
    logging.set_verbosity(before)
    return model.eval()


def _llava():
    vision = CLIPVisionConfig(**_VISION, image_size=16, patch_size=4)
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision, text_config=LlamaConfig(**_TEXT), image_token_id=IMAGE, vision_feature_layer=-1
        )
    )


def _qwen():
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 24, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
    rotary = {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 10000.0}
    return Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(
            vision_config={**vision, "spatial_merge_size": 2},
            text_config={**_TEXT, "rope_parameters": rotary},
            image_token_id=IMAGE,
            video_token_id=58,
            vision_start_token_id=START,
            vision_end_token_id=END,
        )
    )


def _smolvlm():
    vision = {**_VISION, "image_size": 16, "patch_size": 2}
    text = {**_TEXT, "model_type": "llama"}
    return SmolVLMForConditionalGeneration(
        SmolVLMConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, scale_factor=2)
    )


_BUILD = {"llava": _llava, "qwen2_vl": _qwen, "smolvlm": _smolvlm}


def prompt(kind, words, seed=0, padding=0):
    """Return the inputs for one image and a few words, padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    views, rows, columns = GRIDS[kind]
    run = [START, *[IMAGE] * (rows * columns), END]
    ids = torch.tensor([[0] * padding + [1] + run * views + list(words)])
    mask = torch.ones_like(ids)
    mask[:, :padding] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if kind == "qwen2_vl":
        pixels = torch.randn(4 * rows * columns, 3 * 2 * 4 * 4, generator=generator)
        grid = torch.tensor([[1, 2 * rows, 2 * columns]])
        return {**inputs, "pixel_values": pixels, "image_grid_thw": grid, "mm_token_type_ids": ids.eq(IMAGE).int()}
    shape = (1, views, 3, 16, 16) if kind == "smolvlm" else (1, 3, 16, 16)
    return {**inputs, "pixel_values": torch.randn(shape, generator=generator)}


def batch(*rows):
    """Return several prompts of one length as one batch."""
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
