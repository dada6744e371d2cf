"""A small random CLIP as OpenAI saves its state."""

import open_clip
import torch


def write_clip(folder, family="clip"):
    """Write `model.pt` with QuickGELU weights in half precision where OpenAI has it, and return its model spec."""
    text = open_clip.CLIPTextCfg(context_length=16, vocab_size=49408, width=64, heads=1, layers=1)
    vision = open_clip.CLIPVisionCfg(layers=2, width=64, patch_size=8, image_size=32)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        clip = open_clip.CLIP(16, vision, text, quick_gelu=True)
    single = ("ln_", "class_embedding", "positional_embedding", "token_embedding", "logit_scale")
    state = {
        name: tensor if any(part in name for part in single) else tensor.half()
        for name, tensor in clip.state_dict().items()
        if name != "attn_mask"
    }
    torch.save(state | {"input_resolution": torch.tensor(32)}, folder / "model.pt")
    return f"{family}:{folder}/model.pt"
