"""The models of `tests/golden/relevance`, in the layouts of their libraries."""

import dataclasses
import string
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPTokenizer

from specimens.fusion import SIZES
from vlm_data.preprocess import Preprocess
from vlm_models import load_encoder
from vlm_models.export.renaming import to_transformers
from vlm_models.fusion.encoder import FusionEncoder
from vlm_models.fusion.tokens import BertTokens
from vlm_models.fusion.weights import published_name

FOLDER = Path(__file__).parents[1] / "golden" / "relevance"
CLIPS = {"clip_p16_w128": (128, 2, 16), "clip_p8_w64": (64, 4, 8)}
"""Width, layers and patch of the image towers."""
ALBEF = "albef_p16_w96"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def golden_arrays(name):
    """Return the arrays of a golden model as tensors, by name."""
    return {key: torch.from_numpy(np.asarray(values)) for key, values in np.load(FOLDER / f"{name}.npz").items()}


def golden_images(arrays):
    """Return the images in the size of the model, uint8, enlarged by repeating pixels."""
    images = arrays["images_u8"]
    side = 112 // images.shape[-1]
    return images.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)


def golden_open_clip(name, folder):
    """Write the state as OpenAI does and return the model of open_clip behind our protocol."""
    state = {key: tensor.half() for key, tensor in load_file(FOLDER / f"{name}_weights.safetensors").items()}
    torch.save(state, folder / "model.pt")
    encoder = load_encoder(f"clip:{folder}/model.pt")
    encoder.preprocess = Preprocess(112, MEAN, STD)
    return encoder


def golden_transformers(name, folder):
    """Write the state as Hugging Face does and return the model of transformers behind our protocol."""
    width, layers, patch = CLIPS[name]
    tokens = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    tokens += [f"unused{number}" for number in range(98 - len(tokens))]
    vocabulary = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    square = {"height": 112, "width": 112}
    CLIPImageProcessor(size=square, do_center_crop=False, image_mean=MEAN, image_std=STD).save_pretrained(folder)
    text = {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 256}
    vision = {"hidden_size": width, "num_attention_heads": width // 64, "num_hidden_layers": layers}
    CLIPConfig(  # 2 as the end token: the text is read at its largest id, as the golden text features are
        text_config={**text, "vocab_size": 100, "max_position_embeddings": 12, "eos_token_id": 2, "bos_token_id": 98},
        vision_config={**vision, "intermediate_size": 4 * width, "image_size": 112, "patch_size": patch},
        projection_dim=32,
    ).save_pretrained(folder)
    state = to_transformers(load_file(FOLDER / f"{name}_weights.safetensors"))
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return load_encoder(f"hf:{folder}")


def golden_albef():
    """Return an ALBEF with the golden image tower and projection; the other towers stay undefined."""
    arrays, tensors = golden_arrays(ALBEF), load_file(FOLDER / f"{ALBEF}_weights.safetensors")
    sizes = dataclasses.replace(
        SIZES,
        image_size=int(arrays["input_size"]),
        patch_size=16,
        vision_width=96,
        vision_layers=3,
        vision_heads=int(arrays["num_heads"]),
        vision_mlp_width=384,
        embedding_dim=24,
    )
    tokenizer = BertTokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], closing=False, length=4)
    model = FusionEncoder(sizes, tokenizer, spec="albef:tower", architecture={}).eval()
    names = [name for name in model.state_dict() if name.startswith("vision_")]
    found = {name: tensors.pop(published_name(name, "", 0)).float() for name in names}
    assert not tensors
    model.load_state_dict(found, strict=False)
    with torch.no_grad():
        model.temp.fill_(float(arrays["temp"]))
    model.preprocess = Preprocess(112, MEAN, STD)
    return model
