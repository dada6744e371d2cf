"""Small random dual encoders with every kind of image tower, in memory or written by the other specimens."""

import open_clip
import torch

from specimens.fusion import write_fusion
from specimens.huggingface import write_folder
from vlm_data.preprocess import Preprocess
from vlm_models import load_encoder
from vlm_models.openclip.encoder import OpenClipEncoder

TOWERS = ("class token", "class token of transformers", "resnet", "convnext", "coca", "siglip", "albef", "blip")
FURTHER_TOWERS = ("mean of patches", "norm after the mean", "timm class token", "timm mean", "timm latents")
"""Other ways to pool patch tokens."""
_TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
_VIT = {"image_size": 32, "layers": 3, "width": 24, "head_width": 8, "patch_size": 8, "mlp_ratio": 2.0}
_VISION = {
    "resnet": {"image_size": 64, "layers": (1, 1, 1, 1), "width": 8, "head_width": 8},
    "convnext": {"image_size": 64, "timm_model_name": "convnext_atto", "timm_pool": "", "timm_proj": "linear"},
    "coca": {**_VIT, "attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4, "output_tokens": True},
    "mean of patches": {**_VIT, "pool_type": "avg"},
    "norm after the mean": {**_VIT, "pool_type": "avg", "final_ln_after_pool": True},
    "timm class token": {"image_size": 64, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear"},
    "timm mean": {"image_size": 64, "timm_model_name": "test_vit2", "timm_pool": "avg", "timm_proj": "linear"},
    "timm latents": {"image_size": 160, "timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "linear"},
}
"""What `open_clip.CLIPVisionCfg` takes."""


def tower(kind, folder):
    """Return an encoder whose image tower is one of `TOWERS`; the empty folder is for those read from files."""
    if kind == "class token":
        return load_encoder("tiny")
    if kind in ("siglip", "class token of transformers"):
        write_folder(folder, kind if kind == "siglip" else "clip")
        return load_encoder(f"hf:{folder}")
    if kind in ("albef", "blip"):
        return load_encoder(write_fusion(kind, folder))
    return _in_memory(kind)


def _in_memory(kind):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        vision = open_clip.CLIPVisionCfg(**_VISION[kind])
        if kind == "coca":
            decoder = open_clip.coca_model.MultimodalCfg(context_length=16, width=16, heads=2, layers=1)
            text = open_clip.CLIPTextCfg(**_TEXT, embed_cls=True, output_tokens=True)
            clip = open_clip.CoCa(12, decoder, text, vision)
        else:
            clip = open_clip.CustomTextCLIP(12, vision, open_clip.CLIPTextCfg(**_TEXT))
        for parameter in clip.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        for module in clip.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.data.fill_(2.0)  # with less, activations of so small a ResNet die out
    encoder = OpenClipEncoder(
        clip,
        open_clip.tokenizer.SimpleTokenizer(context_length=16),
        spec=kind,
        architecture={},
        preprocess=Preprocess(_VISION[kind]["image_size"]),
        embedding_dim=12,
    )
    return encoder.eval()
